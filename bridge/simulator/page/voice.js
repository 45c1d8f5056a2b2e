// Voices: from the microphone, from a file, or three notes made here. The server turns them into AMR.

import { complain, dialog, make } from "./dom.js";
import { word } from "./words.js";

const LONGEST_SECONDS = 60;
const RATE = 8000;
const NOTES = [523.25, 659.25, 783.99];
const NOTE_SECONDS = 0.5;

/** Ask for a voice; `send(blob)` gets a recording in whatever form the browser makes. */
export function askVoice(send, pickFile) {
  const status = make("p", { role: "status" });
  const start = make("button", { type: "button", className: "strong", textContent: word("record") });
  const file = make("button", { type: "button", textContent: word("chooseFile"),
    onclick: () => { box.close(); pickFile(); } });
  const sample = make("button", { type: "button", textContent: word("sample"),
    onclick: () => { box.close(); send(notes()); } });
  const cancel = make("button", { type: "button", textContent: word("cancel"), onclick: () => box.close() });
  const box = dialog(word("recordTitle"), [make("div", { className: "row presets" }, file, sample), status], [cancel, start]);
  let recording = null;
  let asking = false;
  start.addEventListener("click", async () => {
    if (asking) return;
    if (recording) return recording.stop();
    asking = true; // The browser may ask the agent first: meanwhile the box can be closed.
    recording = await begin(status, start, (blob) => { box.close(); send(blob); });
    asking = false;
    if (!box.open) recording?.drop();
  });
  box.addEventListener("close", () => recording?.drop());
}

async function begin(status, start, done) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
  } catch (error) {
    return unable(status, start, error.name);
  }
  const pieces = [];
  let wanted = true;
  const recorder = new MediaRecorder(stream);
  const began = performance.now();
  const clock = setInterval(() => {
    const seconds = (performance.now() - began) / 1000;
    status.textContent = word("recording", { seconds: Math.floor(seconds) });
    if (seconds >= LONGEST_SECONDS) recorder.stop();
  }, 200);
  const release = () => {
    clearInterval(clock);
    for (const track of stream.getTracks()) track.stop();
  };
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  recorder.addEventListener("stop", () => {
    release();
    if (wanted && pieces.length) done(new Blob(pieces, { type: recorder.mimeType }));
  });
  recorder.start();
  start.textContent = word("stop");
  return {
    stop: () => recorder.state === "recording" && recorder.stop(),
    drop: () => {
      wanted = recorder.state !== "recording" && wanted;
      if (recorder.state === "recording") recorder.stop();
    },
  };
}

function unable(status, start, reason) {
  start.disabled = true;
  status.textContent = word("noMicrophone", { reason });
  complain(status.textContent);
  return null;
}

/** Three notes as a WAV file. */
function notes() {
  const each = RATE * NOTE_SECONDS;
  const samples = new Int16Array(each * NOTES.length);
  NOTES.forEach((frequency, note) => {
    for (let i = 0; i < each; i += 1) {
      const fade = Math.min(1, i / 200, (each - i) / 1500);
      samples[note * each + i] = 9000 * fade * Math.sin((2 * Math.PI * frequency * i) / RATE);
    }
  });
  return new Blob([header(samples.byteLength), samples], { type: "audio/wav" });
}

function header(bytes) {
  const view = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + bytes, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, RATE * 2, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, bytes, true);
  return view;
}
