/** What every view needs of the libraries: Preact with htm's templates, and signals. */

import { createElement } from "../vendor/preact-11.2.0/preact.mjs";
import htm from "../vendor/htm-3.1.1/htm.mjs";

export { Fragment, render } from "../vendor/preact-11.2.0/preact.mjs";
export {
  useCallback,
  useEffect,
  useErrorBoundary,
  useLayoutEffect,
  useMemo,
  useRef,
  useState,
} from "../vendor/preact-11.2.0/hooks.mjs";
export { batch, computed, effect, signal, useSignal } from "../vendor/preact-signals-2.11.4/signals.mjs";

export const html = htm.bind(createElement);
