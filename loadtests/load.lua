-- The requests of wrk, from the arguments METHOD PATH BODY [close] after `--`: those of a thousand customers in turn,
-- built in advance. At the end it prints one line of JSON (times in microseconds).
local customers = 1000
local requests, last = {}, 0

function init(args)
  local method, path, body = args[1], args[2], args[3]
  if body == "" then body = nil end
  if args[4] == "close" then wrk.headers["Connection"] = "close" end
  wrk.headers["Content-Type"] = "application/json"
  for n = 1, customers do
    wrk.headers["X-Customer-Id"] = "customer-" .. n
    requests[n] = wrk.format(method, path, nil, body)
  end
end

function request()
  last = last % customers + 1
  return requests[last]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "errors": %d, "p50_us": %.1f, "p99_us": %.1f}\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
