// Measures how loud the microphone is, in blocks of some 20 ms.

const BLOCK = 1024;

class Level extends AudioWorkletProcessor {
  #count = 0;
  #sum = 0;
  #squares = 0;

  process([[samples]]) {
    if (samples) {
      for (const sample of samples) {
        this.#sum += sample;
        this.#squares += sample * sample;
      }
      this.#count += samples.length;
    }
    if (this.#count >= BLOCK) {
      const mean = this.#sum / this.#count; // a constant offset is no sound
      const power = this.#squares / this.#count - mean * mean;
      this.port.postMessage({ at: currentTime, db: 10 * Math.log10(Math.max(power, 1e-10)) });
      this.#count = this.#sum = this.#squares = 0;
    }
    return true;
  }
}

registerProcessor("level", Level);
