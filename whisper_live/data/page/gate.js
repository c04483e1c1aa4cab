// Tells sound from silence by level alone, so generously that no word is clipped: what is
// speech is the server's to say.

// Measured levels rise and fall with the room: the floor follows what is quieter at once
// and what is louder slowly, so that a long vowel is not taken for a fan.
const FALL = 0.3; // of the difference, at each level
const RISE_DB_PER_S = 1;
const ABOVE_FLOOR_DB = 8; // steady noise stays within 3 dB of its floor
const NEVER_SILENCE_DB = -42; // in a loud place speech may be no louder than the rest
const LOWEST_DB = -75; // what is softer is digital silence
const UNKNOWN_S = 0.3; // at the start all is sent, until the floor is known
const KEPT_S = 5;

/** Hears levels in order and says of a span whether it has to be sent. */
export class Gate {
  #prerollS;
  #hangoverS;
  #floorDb = null;
  #heardTo = 0;
  #loud = []; // when it was loud, in order

  constructor({ prerollS = 0.3, hangoverS = 0.3 } = {}) {
    this.#prerollS = prerollS;
    this.#hangoverS = hangoverS;
  }

  /** The level of what ended at this time. */
  hear(atS, db) {
    const level = Math.max(db, LOWEST_DB);
    const passed = Math.max(atS - this.#heardTo, 0);
    this.#floorDb ??= level;
    const above = level - this.#floorDb;
    this.#floorDb += above < 0 ? above * FALL : Math.min(above, RISE_DB_PER_S * passed);
    this.#heardTo = Math.max(atS, this.#heardTo);
    const threshold = Math.min(this.#floorDb + ABOVE_FLOOR_DB, NEVER_SILENCE_DB);
    if (atS < UNKNOWN_S || level > threshold) this.#loud.push(atS);
    while (this.#loud[0] < atS - KEPT_S) this.#loud.shift();
  }

  /** true: send it; false: it is silence; null: what follows has to be heard first. */
  verdict(startS, endS) {
    const from = startS - this.#hangoverS;
    const to = endS + this.#prerollS;
    if (this.#loud.some((at) => from <= at && at <= to)) return true;
    return this.#heardTo >= to ? false : null;
  }
}
