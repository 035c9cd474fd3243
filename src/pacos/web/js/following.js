/** Whether a view that grows stays at its end: yes, until its reader goes up. Knows sizes alone, no time and no frames. */

const NEAR_PIXELS = 60; // so far from the end still counts as its end

/** @typedef {{scrollTop: number, scrollHeight: number, clientHeight: number}} Place  as elements have it */

/** @param {Place} place */
const atEnd = ({ scrollTop, scrollHeight, clientHeight }) => scrollHeight - scrollTop - clientHeight < NEAR_PIXELS;

export class Following {
  constructor() {
    this.on = true;
    this.top = 0; // where the place was when it was last looked at
  }

  /** Follow from now on. @param {Place} place */
  begin(place) {
    this.on = true;
    this.resized(place);
  }

  /** The reader turned to something that is shown: it stays where it is, whatever unfolds. */
  leave() {
    this.on = false;
  }

  /** Whether the end is neither seen nor followed. @param {Place} place */
  away(place) {
    return !this.on && !atEnd(place);
  }

  /** The place or what it shows has another size: where the end is followed, it is gone to. @param {Place} place */
  resized(place) {
    if (this.on) place.scrollTop = place.scrollHeight;
    else this.on = atEnd(place);
    this.top = place.scrollTop; // which browsers change, too, where there is less to show
  }

  /**
   * The place was scrolled. Browsers tell that a frame later: what it shows may have grown since, so that not to be at
   * the end says nothing. Only a reader goes up.
   * @param {Place} place
   */
  scrolled(place) {
    this.on = atEnd(place) || (this.on && place.scrollTop >= this.top);
    this.top = place.scrollTop;
  }
}
