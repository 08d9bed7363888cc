// Numbers, times and states in words. Pure: the clock is an argument.

export const missing = value => value === null || value === undefined || Number.isNaN(value);
export const NOTHING = "–";

export function percent(share, digits = 3) {
  if (missing(share)) return NOTHING;
  const value = share * 100;
  return `${value === 0 ? 0 : +value.toPrecision(Math.abs(value) >= 100 ? 4 : digits)} %`;
}

export const rounded = value => missing(value) ? NOTHING : String(+value.toPrecision(3));

// 12345 is 12 345: the gap is a narrow space that does not break.
export const count = value =>
  missing(value) ? NOTHING : String(Math.round(value)).replace(/\B(?=(\d{3})+$)/g, "\u202f");

export function rate(perSecond) {
  if (missing(perSecond)) return NOTHING;
  if (perSecond >= 1000) return count(perSecond);
  return String(+perSecond.toPrecision(perSecond < 10 ? 2 : 3));
}

const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];

export function duration(seconds) {
  if (missing(seconds)) return NOTHING;
  if (seconds === 0) return "0 s";
  if (seconds < 1) return `${+(seconds * 1000).toPrecision(3)} ms`;
  if (seconds < 10) return `${+seconds.toPrecision(2)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const [size, unit, part, smaller] = UNITS.find(([each]) => whole >= each);
  const rest = Math.floor(whole % size / part);
  return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}

// A duration of which only the order matters: "3 h", "12 min".
export function about(seconds) {
  if (missing(seconds)) return NOTHING;
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([each]) => seconds >= each) ?? [1, "s"];
  return `${Math.max(Math.round(seconds / size), 1)} ${unit}`;
}

export function ago(at, now) {
  const seconds = Math.max(now - at, 0);
  return seconds < 5 ? "just now" : `${about(seconds)} ago`;
}

const two = number => String(number).padStart(2, "0");

export function clock(at, now) {
  const then = new Date(at * 1000), today = new Date(now * 1000);
  const time = `${two(then.getHours())}:${two(then.getMinutes())}:${two(then.getSeconds())}`;
  if (then.toDateString() === today.toDateString()) return time;
  const day = then.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const year = then.getFullYear() === today.getFullYear() ? "" : ` ${then.getFullYear()}`;
  return `${day}${year}, ${time.slice(0, 5)}`;
}

export const PHASES = {
  progressing: { tone: "go", word: "progressing" },
  paused: { tone: "wait", word: "paused" },
  promoted: { tone: "good", word: "promoted" },
  aborted: { tone: "bad", word: "aborted" },
  rolled_back: { tone: "bad", word: "rolled back" },
};
export const VERDICTS = { PASS: "good", FAIL: "bad", UNDECIDED: "wait", VOID: "void" };

// A value of a check in its unit, with a sign where it is a difference.
export function measured(value, unit) {
  if (missing(value)) return NOTHING;
  if (unit === "share") return percent(value);
  if (unit === "seconds") return `${value < 0 ? "−" : ""}${duration(Math.abs(value))}`;
  if (unit === "ratio") return `${rounded(value)} ×`;
  return rounded(value);
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
