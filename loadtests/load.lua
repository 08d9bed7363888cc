-- What wrk sends, METHOD PATH BODY after `--`: a thousand customers in turn, with the requests
-- made beforehand; and what it prints at its end, one line of JSON (times in microseconds).
local customers = 1000
local requests, turn = {}, 0

function init(args)
  local method, path, body = args[1], args[2], args[3]
  if body == "" then body = nil end
  wrk.headers["Content-Type"] = "application/json"
  for n = 1, customers do
    wrk.headers["X-Customer-Id"] = "customer-" .. n
    requests[n] = wrk.format(method, path, nil, body)
  end
end

function request()
  turn = turn % customers + 1
  return requests[turn]
end

function done(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "errors": %d, "p50_us": %.1f, "p99_us": %.1f}\n',
    summary.requests, summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99)))
end
