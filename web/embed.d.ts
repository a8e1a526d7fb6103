/** Return the counter of the API with this address. The same arguments return the same object. */
export function counter(api: string, id: string): Counter;

export interface Counter {
  /**
   * Increment by this amount, 1 by default. Resolve when the API has recorded the event, and retry until then.
   *
   * With `once`, the increment counts once per visitor: ever, or once a day (UTC). Resolve to null if it was recorded
   * before.
   */
  increment(by?: number, options?: { once?: Once | null }): Promise<RecordedEvent | null>;
  /** Read the counter from the API. */
  read(): Promise<CounterState>;
  /** Call back with the state now and after each change. Return a function that unsubscribes. */
  subscribe(callback: (state: WatchedState) => void): () => void;
  /** Check whether the visitor's increment is recorded, or in the outbox. */
  isCounted(once: Once): boolean;
}

export type Once = "visitor" | "day";

export interface RecordedEvent {
  id: string;
  recordedAt: string;
}

export interface CounterState {
  counter_id: string;
  value: number;
  version: number;
  updated_at: string | null;
}

/** The last known state, if any, with its freshness and this browser's pending increments. */
export interface WatchedState extends Partial<Omit<CounterState, "value">> {
  value: number | null;
  /** The time at which the state was read, in milliseconds since 1970. */
  at?: number;
  /** Whether the last read succeeded. If not, the state is as of `at`. */
  isFresh: boolean;
  /** The sum of this browser's increments that are not known to be counted. */
  pending: number;
  /** Whether an increment waits for a retry. */
  isWaiting: boolean;
  /** Whether waiting increments survive a reload. */
  isSaved: boolean;
  /** The error of the last read; with a `status` if the API refused it. */
  error: (Error & { status?: number }) | null;
}

/** The `detail` of an element's event `counter-change`, which bubbles. */
export interface CounterChange {
  counter: string | null;
  /** Null or missing until the value is known. */
  value?: number | null;
  version?: number;
  /** Whether the last read succeeded. */
  isFresh?: boolean;
  /** The sum of this browser's increments that are not known to be counted. */
  pending?: number;
  /** The reason if the API refused the element's request, or the element's attributes are invalid; otherwise empty. */
  refusal: string;
}

declare global {
  // Without the DOM's types, as in Node, these are empty.
  interface Event {}
  interface HTMLElement {}
  interface HTMLElementTagNameMap {
    "counter-button": HTMLElement;
    "counter-value": HTMLElement;
  }
  interface GlobalEventHandlersEventMap {
    "counter-change": Event & { readonly detail: CounterChange };
  }
}
