#!/usr/bin/env node
// An agent for tests around Elastic's OpAMP client for Node.js, which speaks HTTP only.
// It prints what happens as one JSON line each and answers configurations on demand.
// It ends when told by a signal, or when the pipe on its standard input closes, so that
// it never outlives the test that started it.

import { fstatSync, readFileSync } from 'node:fs';
import { subscribe } from 'node:diagnostics_channel';
import { parseArgs } from 'node:util';
import {
  AgentCapabilities,
  createOpAMPClient,
  DIAG_CH_SEND_FAIL,
  DIAG_CH_SEND_SUCCESS,
  RemoteConfigStatuses,
} from '@elastic/opamp-client-node';

const REFUSAL = 'refused on demand';

const options = parseOptions();
const client = createClient(options);
// The client library does not tell of its connection, nor of a new uid, but through these channels.
const last = { connected: false, uid: uidText(client.getInstanceUid()) };

start();

function start() {
  client.setAgentDescription(description(options.attr));
  subscribe(DIAG_CH_SEND_SUCCESS, onSuccess);
  subscribe(DIAG_CH_SEND_FAIL, onFailure);
  print({ event: 'started', uid: last.uid });
  client.start();
  stopWhenTold();
}

function parseOptions() {
  const { values } = parseArgs({
    options: {
      endpoint: { type: 'string' },
      uid: { type: 'string' },
      attr: { type: 'string', multiple: true, default: [] },
      header: { type: 'string', multiple: true, default: [] },
      mode: { type: 'string', default: 'apply' },
      'interval-ms': { type: 'string', default: '250' },
      ca: { type: 'string' },
      cert: { type: 'string' },
      key: { type: 'string' },
    },
  });
  if (!values.endpoint) fail('--endpoint is missing');
  if (!['apply', 'fail', 'silent'].includes(values.mode)) fail(`--mode is ${values.mode}, not apply, fail or silent`);
  return values;
}

function createClient({ endpoint, uid, header, 'interval-ms': interval, ca, cert, key }) {
  return createOpAMPClient({
    endpoint,
    instanceUid: uid,
    headers: Object.fromEntries(header.map(pair)),
    heartbeatIntervalSeconds: Number(interval) / 1000,
    capabilities:
      AgentCapabilities.AgentCapabilities_AcceptsRemoteConfig | AgentCapabilities.AgentCapabilities_ReportsRemoteConfig,
    connect: { ca: content(ca), cert: content(cert), key: content(key) },
    onMessage: ({ remoteConfig }) => remoteConfig && onRemoteConfig(remoteConfig),
    diagEnabled: true,
  });
}

// Attributes named service.* identify the agent, as with the other witnesses.
function description(attributes) {
  const pairs = (attributes.length ? attributes : ['service.name=opamp-node-client']).map(pair);
  const identifies = ([name]) => name.startsWith('service.');
  return {
    identifyingAttributes: Object.fromEntries(pairs.filter(identifies)),
    nonIdentifyingAttributes: Object.fromEntries(pairs.filter((entry) => !identifies(entry))),
  };
}

function onRemoteConfig({ config, configHash }) {
  print({ event: 'remote_config', hash: hex(configHash), files: files(config?.configMap ?? {}) });
  if (options.mode === 'apply') report('APPLIED', configHash, '');
  if (options.mode === 'fail') report('FAILED', configHash, REFUSAL);
}

function report(status, hash, error) {
  client.setRemoteConfigStatus({
    lastRemoteConfigHash: hash,
    status: RemoteConfigStatuses[`RemoteConfigStatuses_${status}`],
    errorMessage: error,
  });
  print({ event: 'status', status, hash: hex(hash), ...(error && { error }) });
}

function files(configMap) {
  return Object.fromEntries(
    Object.entries(configMap).map(([name, { contentType, body }]) => [
      name,
      { contentType, body: Buffer.from(body).toString('base64') },
    ]),
  );
}

function onSuccess() {
  if (!last.connected) print({ event: 'connected' });
  last.connected = true;
  const uid = uidText(client.getInstanceUid());
  if (uid !== last.uid) print({ event: 'uid', uid });
  last.uid = uid;
}

function onFailure({ err }) {
  last.connected = false;
  const error = err instanceof Error ? err.message || err.code : err;
  print({ event: error.startsWith('ServerErrorResponse') ? 'server_error' : 'connect_failed', error });
}

// A terminal or /dev/null on standard input means nothing; the end of a pipe does.
function stopWhenTold() {
  // The client's timers do not keep the process alive.
  const alive = setInterval(() => {}, 60_000);
  const stop = async () => {
    clearInterval(alive);
    await client.shutdown();
    print({ event: 'stopped' });
    process.exit(0);
  };
  process.once('SIGTERM', stop).once('SIGINT', stop);
  const input = fstatSync(0);
  if (input.isFIFO() || input.isSocket()) process.stdin.once('end', stop).once('error', stop).resume();
}

function pair(text) {
  const at = text.indexOf('=');
  if (at < 0) fail(`${text} has no =`);
  return [text.slice(0, at), text.slice(at + 1)];
}

function content(path) {
  return path && readFileSync(path);
}

function uidText(bytes) {
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

function hex(bytes) {
  return Buffer.from(bytes).toString('hex');
}

function print(event) {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function fail(message) {
  process.stderr.write(`opamp-node-client: ${message}\n`);
  process.exit(1);
}
