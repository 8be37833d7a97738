// The page of `emotalk serve`: plain modules, no build, no request to anywhere but this server.
const $ = (id) => document.getElementById(id);
const token = new URLSearchParams(location.hash.slice(1)).get("token");
const POLL = 400; // ms between looks at a video that is being made
const HUES = [28, 205, 340, 130, 265, 60, 180];

const state = { face: null, audio: null, seconds: 0, wave: null, emotions: [], keyframes: [], job: null, spot: null };

// -- the service ------------------------------------------------------------------------------------------------

async function call(path, options = {}) {
  const headers = { ...(options.headers || {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  const answer = await fetch(path, { ...options, headers });
  if (!answer.ok) {
    let text = `The service answered ${answer.status}.`;
    try { text = (await answer.json()).error || text; } catch { /* not JSON: the status has to do */ }
    throw Object.assign(new Error(text), { status: answer.status });
  }
  return answer;
}

const json = (path, method, body) =>
  call(path, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });

async function send(file, name) {
  const form = new FormData();
  form.append("file", file, name || file.name);
  return (await (await call("v1/files", { method: "POST", body: form })).json()).id;
}

function say(text, bad = false) {
  $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

async function begin() {
  for (;;) {
    try {
      state.emotions = await (await call("v1/emotions")).json();
      break;
    } catch (error) {
      $("service").textContent = error.status === 503 ? "Loading the models …" : error.message;
      if (error.status === 401) return;
      await pause(700);
    }
  }
  $("service").textContent = "Ready.";
  $("emotions").replaceChildren(...state.emotions.map(({ name }) => Object.assign(document.createElement("option"), { value: name })));
  drawMap();
  const voices = await (await call("v1/voices")).json();
  $("voice").replaceChildren(...voices.map(({ name, language }) => new Option(`${name} (${language})`, name)));
  $("tab-words").disabled = !voices.length;
  preview();
}

// -- picture and voice ------------------------------------------------------------------------------------------

function droppable(zone, input, take) {
  input.addEventListener("change", () => input.files[0] && take(input.files[0]));
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (e) => { e.preventDefault(); zone.classList.add("over"); });
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", (e) => { e.preventDefault(); if (e.dataTransfer.files[0]) take(e.dataTransfer.files[0]); });
}

async function takeFace(file) {
  say("Sending the picture …");
  try {
    state.face = await send(file);
    $("face-shown").src = URL.createObjectURL(file);
    $("face-shown").alt = `The portrait ${file.name}`;
    $("face-shown").hidden = false;
    $("face-hint").textContent = file.name;
    say("");
    preview();
  } catch (error) { say(error.message, true); }
  ready();
}

async function takeAudio(file, name) {
  say("Sending the recording …");
  try {
    state.audio = await send(file, name);
    $("audio-hint").textContent = name || file.name;
    say("");
    await readWave(file);
  } catch (error) { say(error.message, true); }
  ready();
}

async function readWave(file) {
  state.wave = null;
  state.seconds = 0;
  try {
    const context = new AudioContext();
    const sound = await context.decodeAudioData(await file.arrayBuffer());
    await context.close();
    const samples = sound.getChannelData(0), columns = 320, step = Math.max(1, Math.floor(samples.length / columns));
    state.seconds = sound.duration;
    state.wave = Array.from({ length: columns }, (_, i) => {
      let peak = 0;
      for (let k = i * step; k < Math.min(samples.length, (i + 1) * step); k += 8) peak = Math.max(peak, Math.abs(samples[k]));
      return peak;
    });
  } catch { /* a format that the browser does not know: the service may */ }
  drawWave();
}

let recorder = null;
$("record").addEventListener("click", async () => {
  if (recorder) { recorder.stop(); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    const parts = [];
    recorder = new MediaRecorder(stream);
    recorder.addEventListener("dataavailable", (e) => parts.push(e.data));
    recorder.addEventListener("stop", () => {
      stream.getTracks().forEach((track) => track.stop());
      const type = recorder.mimeType;
      recorder = null;
      $("record").textContent = "Record";
      takeAudio(new Blob(parts, { type }), `recording.${type.includes("mp4") ? "m4a" : "webm"}`);
    });
    recorder.start();
    $("record").textContent = "Stop recording";
  } catch { say("The microphone cannot be used; allow it in the browser, or drop a file.", true); }
});

const speaking = () => $("tab-words").getAttribute("aria-selected") === "true";
for (const [mine, other] of [["sound", "words"], ["words", "sound"]]) {
  $(`tab-${mine}`).addEventListener("click", () => choose(mine, other));
  $(`tab-${mine}`).addEventListener("keydown", (e) => {
    if (["ArrowLeft", "ArrowRight"].includes(e.key) && !$(`tab-${other}`).disabled) { choose(other, mine); $(`tab-${other}`).focus(); }
  });
}
function choose(mine, other) {
  for (const [name, on] of [[mine, true], [other, false]]) {
    $(`tab-${name}`).setAttribute("aria-selected", on);
    $(`tab-${name}`).tabIndex = on ? 0 : -1;
    $(`panel-${name}`).hidden = !on;
  }
  ready();
}
$("text").addEventListener("input", ready);

function ready() {
  $("make").disabled = !state.face || !(speaking() ? $("text").value.trim() : state.audio) || Boolean(state.job);
}

// -- the feeling ------------------------------------------------------------------------------------------------

let busy = false, again = false;

// One preview at a time; whatever changes meanwhile is asked for once, as it then is. So no key has to be waited for.
async function preview() {
  if (!state.face || !state.emotions.length || state.job) return;
  if (busy) { again = true; return; }
  busy = true;
  const begun = performance.now();
  try {
    const wish = { face: state.face, emotion: $("emotion").value.trim() || "neutral", intensity: Number($("intensity").value) };
    const picture = await (await json("v1/preview", "POST", wish)).blob();
    if (!state.job) { // else the stage is the video's
      URL.revokeObjectURL($("preview").src);
      $("preview").src = URL.createObjectURL(picture);
      $("preview").hidden = false;
      $("video").hidden = true;
      $("caption").textContent = `“${wish.emotion}”, intensity ${wish.intensity}`;
      $("preview").dataset.ms = Math.round(performance.now() - begun);
      $("preview").dataset.emotion = wish.emotion;
    }
  } catch (error) {
    $("caption").textContent = error.message;
    if (error.status === 503) setTimeout(preview, 800);
  }
  busy = false;
  if (again) { again = false; preview(); }
}

$("emotion").addEventListener("input", () => { state.spot = null; drawMap(); preview(); });
$("intensity").addEventListener("input", () => { $("intensity-shown").textContent = $("intensity").value; preview(); });

// A canvas as sharp as the screen: its pen draws in CSS pixels.
function canvasPen(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas, dense = devicePixelRatio || 1;
  canvas.width = width * dense;
  canvas.height = height * dense;
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  return { pen, width, height };
}

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const place = ({ x, y }, { width, height }) => [(0.5 + 0.44 * x) * width, (0.5 - 0.44 * y) * height];

function drawMap() {
  const canvas = canvasPen($("map")), { pen, width } = canvas, words = $("emotion").value.toLowerCase();
  pen.font = "13px system-ui, sans-serif";
  pen.textAlign = "center";
  const taken = [];
  const named = [...state.emotions].sort((a, b) => words.includes(b.name) - words.includes(a.name));
  for (const emotion of named) {
    const [x, y] = place(emotion, canvas), on = words.includes(emotion.name);
    pen.fillStyle = on ? ink("--accent") : ink("--quiet");
    pen.beginPath();
    pen.arc(x, y, on ? 5 : 3, 0, 7);
    pen.fill();
    const half = pen.measureText(emotion.name).width / 2 + 3, box = [x - half, y - 20, x + half, y - 5];
    if (taken.some((o) => box[0] < o[2] && o[0] < box[2] && box[1] < o[3] && o[1] < box[3])) continue; // names do not overlap
    taken.push(box);
    pen.fillText(emotion.name, Math.min(Math.max(x, half), width - half), y - 8);
  }
  if (state.spot) {
    const [x, y] = place(state.spot, canvas);
    pen.strokeStyle = ink("--accent");
    pen.lineWidth = 3;
    pen.beginPath();
    pen.arc(x, y, 11, 0, 7);
    pen.stroke();
  }
}

function pick(x, y) {
  state.spot = { x: Math.min(1.1, Math.max(-1.1, x)), y: Math.min(1.1, Math.max(-1.1, y)) };
  const near = state.emotions.map((e) => ({ name: e.name, weight: 1 / (0.002 + (e.x - state.spot.x) ** 2 + (e.y - state.spot.y) ** 2) }))
    .sort((a, b) => b.weight - a.weight).slice(0, 3);
  const sum = near.reduce((total, e) => total + e.weight, 0);
  const parts = near.map((e) => ({ ...e, weight: e.weight / sum })).filter((e) => e.weight > 0.08);
  $("emotion").value = parts.length === 1 || parts[0].weight > 0.9 ? parts[0].name : parts.map((e) => `${e.name}:${e.weight.toFixed(2)}`).join("+");
  drawMap();
  preview();
}

const map = $("map");
const at = (e) => {
  const box = map.getBoundingClientRect();
  pick(((e.clientX - box.left) / box.width - 0.5) / 0.44, (0.5 - (e.clientY - box.top) / box.height) / 0.44);
};
map.addEventListener("pointerdown", (e) => { map.setPointerCapture(e.pointerId); at(e); });
map.addEventListener("pointermove", (e) => map.hasPointerCapture(e.pointerId) && at(e));
map.addEventListener("keydown", (e) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[e.key];
  if (!step) return;
  e.preventDefault();
  const from = state.spot || { x: 0, y: 0 };
  pick(from.x + 0.06 * step[0], from.y + 0.06 * step[1]);
});

// -- the timeline -----------------------------------------------------------------------------------------------

const hue = (i) => `hsl(${HUES[i % HUES.length]} 65% 50%)`;

function drawWave() {
  const { pen, width, height } = canvasPen($("wave"));
  pen.fillStyle = ink("--quiet");
  (state.wave || []).forEach((peak, i) => {
    const tall = Math.max(1, peak * height * 0.9);
    pen.fillRect((i * width) / 320, (height - tall) / 2, width / 320 - 0.5, tall);
  });
  state.keyframes.forEach((frame, i) => {
    const x = (frame.time / Math.max(state.seconds, 0.1)) * width;
    pen.fillStyle = hue(i);
    pen.fillRect(x - 2, 0, 4, height);
    pen.fillText(frame.emotion, Math.min(x + 5, width - 60), 12 + 12 * (i % 3));
  });
}

function showKeyframes() {
  $("keyframes").replaceChildren(...state.keyframes.map((frame, i) => {
    const row = document.createElement("li");
    row.style.setProperty("--mark", hue(i));
    const cell = (type, key, label, limits = {}) => {
      const input = Object.assign(document.createElement("input"), { type, value: frame[key], ariaLabel: label, ...limits });
      input.addEventListener("input", () => { frame[key] = type === "number" ? Number(input.value) : input.value; drawWave(); });
      return input;
    };
    const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove", ariaLabel: `Remove moment ${i + 1}` });
    drop.addEventListener("click", () => { state.keyframes.splice(i, 1); showKeyframes(); });
    row.append(cell("number", "time", "Second", { min: 0, step: 0.1 }), cell("text", "emotion", "Feeling"), cell("number", "intensity", "Intensity", { min: 1, max: 3, step: 0.1 }), drop);
    return row;
  }));
  drawWave();
}

$("add-keyframe").addEventListener("click", () => {
  const last = state.keyframes.at(-1);
  const time = last ? Math.min(last.time + 1, Math.max(last.time + 0.1, state.seconds || last.time + 1)) : 0;
  state.keyframes.push({ time: Number(time.toFixed(2)), emotion: $("emotion").value.trim() || "neutral", intensity: Number($("intensity").value) });
  showKeyframes();
});

let held = null;
const second = (e) => {
  const box = $("wave").getBoundingClientRect();
  return Math.max(0, Math.min(state.seconds, ((e.clientX - box.left) / box.width) * state.seconds));
};
$("wave").addEventListener("pointerdown", (e) => {
  if (!state.seconds) return;
  const near = state.keyframes.filter((frame) => Math.abs(frame.time - second(e)) < state.seconds * 0.03);
  held = near[0] || null;
  if (held) $("wave").setPointerCapture(e.pointerId);
});
$("wave").addEventListener("pointermove", (e) => { if (held) { held.time = Number(second(e).toFixed(2)); drawWave(); } });
$("wave").addEventListener("pointerup", () => { if (held) { held = null; showKeyframes(); } });

// -- the video --------------------------------------------------------------------------------------------------

function wish() {
  const video = {
    face: state.face, intensity: Number($("intensity").value), size: Number($("size").value), framing: $("framing").value,
    pose: $("pose").value, blink: Number($("blink").value), seed: Number($("seed").value), label: $("label").value.trim(),
  };
  if (speaking()) Object.assign(video, { text: $("text").value.trim(), voice: $("voice").value });
  else video.audio = state.audio;
  const moments = [...state.keyframes].sort((a, b) => a.time - b.time);
  if (moments.length) video.timeline = moments;
  else if ($("emotion").value.trim()) video.emotion = $("emotion").value.trim();
  return video;
}

$("make").addEventListener("click", async () => {
  $("downloads").replaceChildren();
  $("notes").replaceChildren();
  try {
    state.job = await (await json("v1/videos", "POST", wish())).json();
    ready();
    for (const id of ["progress", "cancel"]) $(id).hidden = false;
    await follow();
  } catch (error) { say(error.message, true); }
  for (const id of ["progress", "cancel"]) $(id).hidden = true;
  state.job = null;
  ready();
});
$("cancel").addEventListener("click", () => state.job && call(`v1/videos/${state.job.id}/cancel`, { method: "POST" }));

async function follow() {
  for (;;) {
    const job = state.job = await (await call(`v1/videos/${state.job.id}`)).json();
    $("progress").value = job.progress;
    if (job.state === "queued") say(job.position > 1 ? `Waiting; ${job.position - 1} before this one.` : "Waiting …");
    else if (job.state === "running") say(job.frames.total ? `Frame ${job.frames.done} of ${job.frames.total}; about ${Math.ceil(job.eta_seconds)} s left.` : "Listening …");
    else break;
    if (job.state === "running") {
      const frame = await call(job.links.frame.slice(1));
      if (frame.status === 200) {
        $("preview").src = URL.createObjectURL(await frame.blob());
        $("preview").dataset.job = job.id;
        $("preview").hidden = false;
        $("video").hidden = true;
      }
    }
    await pause(POLL);
  }
  const job = state.job;
  if (job.state !== "done") { say(job.state === "cancelled" ? "Stopped." : job.error, job.state === "failed"); return; }
  const nearest = Object.keys(job.nearest)[0];
  say(nearest ? `Done. Understood as: ${Object.keys(job.nearest).join(", ")}.` : "Done.");
  $("notes").replaceChildren(...job.notes.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
  for (const [kind, path] of Object.entries(job.files)) {
    const data = URL.createObjectURL(await (await call(path.slice(1))).blob());
    const suffix = { video: "mp4", sidecar: "json", blendshapes: "csv", sheet: "png" }[kind];
    const link = Object.assign(document.createElement("a"), { href: data, download: `emotalk.${suffix}`, textContent: kind });
    const item = document.createElement("li");
    item.append(link);
    $("downloads").append(item);
    if (kind === "video") {
      $("video").src = data;
      $("video").hidden = false;
      $("preview").hidden = true;
    }
  }
  $("caption").textContent = "The video.";
}

addEventListener("resize", () => { drawMap(); drawWave(); });
for (const id of ["map-details", "timeline-details"]) $(id).addEventListener("toggle", () => { drawMap(); drawWave(); });
droppable($("face-drop"), $("face"), takeFace);
droppable($("audio-drop"), $("audio"), takeAudio);
begin();
