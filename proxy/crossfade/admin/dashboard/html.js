// The one place that joins preact and htm. Values are set as text, never parsed as HTML.
import { h } from "preact";
import htm from "htm";

export const html = htm.bind(h);
