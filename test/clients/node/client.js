'use strict';
// What operations.js and crossing.js share: a client with promises for its
// callbacks, which remembers its events, and checks that say what they wanted.

const zookeeper = require('node-zookeeper-client');
const { OP_CODES } = require('node-zookeeper-client/lib/jute');
const { STATES } = require('node-zookeeper-client/lib/ConnectionManager.js');

const WAIT_MS = 30000; // any wait ends in milliseconds when all is well

const failures = [];
let verbose = false;

// want is a check. The program goes on after a failure, and ends with 1.
function want(what, got, wanted) {
  if (JSON.stringify(got) !== JSON.stringify(wanted)) {
    failures.push(what);
    console.log(`failed ${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(wanted)}`);
  } else if (verbose) {
    console.log(`ok ${what}`);
  }
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function until(what, done) {
  for (const deadline = Date.now() + WAIT_MS; !done(); await sleep(2)) {
    if (Date.now() > deadline) {
      throw new Error(`${what} never came`);
    }
  }
}

// refusal is the name of the error that call ends with, or what it returns.
async function refusal(call) {
  try {
    return await call;
  } catch (e) {
    return e.getName();
  }
}

class Client {
  // hosts is a list with commas, of which the first that answers is taken; from
  // is a client whose session this one resumes, or undefined.
  constructor(hosts, from) {
    this.events = []; // as "NODE_CREATED /path", in the order they came
    this.connections = 0;
    this.losses = 0;
    const options = { sessionTimeout: 20000 };
    if (from) {
      options.sessionId = from.zk.getSessionId();
      options.sessionPassword = from.zk.getSessionPassword();
    }
    this.zk = zookeeper.createClient(hosts, options);
    this.manager = this.zk.connectionManager;
    this.manager.servers = hosts.split(',').map((s) => ({ host: s.split(':')[0], port: Number(s.split(':')[1]) })); // it shuffles them
    this.zk.on('connected', () => this.connections++);
    this.zk.on('disconnected', () => this.losses++);
    this.zk.on('expired', () => { this.expired = true; });
    // It queues its watches for each connection that a server accepts, and when
    // one was then turned away sends them as often, and gets as many events.
    const connected = this.manager.onSocketConnected;
    this.manager.onSocketConnected = () => {
      const packets = this.manager.packetQueue;
      packets.queue = packets.queue.filter((p) => p.request.header.type !== OP_CODES.SET_WATCHES);
      connected.call(this.manager);
    };
    // A watcher hears of an event but once, whatever the server sends. This is
    // called for each that it sends.
    const watchers = this.manager.watcherManager;
    const emit = watchers.emit.bind(watchers);
    watchers.emit = (event) => {
      const name = Object.keys(zookeeper.Event).find((k) => zookeeper.Event[k] === event.type);
      this.events.push(`${name} ${event.path}`);
      emit(event);
    };
  }

  async open() {
    this.zk.connect();
    await until('a connection', () => this.connections === 1);
    return this;
  }

  async close() {
    const losses = this.losses;
    this.zk.close();
    await until('the end of the session', () => this.losses > losses);
  }

  // vanish ends the client without a word to the server.
  vanish() {
    this.manager.state = STATES.CLOSING;
    this.manager.socket.destroy();
  }

  // dropConnection cuts the TCP connection and waits until the client is back.
  async dropConnection() {
    const connections = this.connections;
    this.manager.socket.destroy();
    await until('a reconnection', () => this.connections > connections);
  }

  call(method, ...args) {
    return new Promise((resolve, reject) => {
      this.zk[method](...args, (error, ...results) => (error ? reject(error) : resolve(results.length > 1 ? results : results[0])));
    });
  }

  create(path, data, ...more) {
    return this.call('create', path, data === null ? null : Buffer.from(data), ...more);
  }

  set(path, data, version = -1) {
    return this.call('setData', path, data === null ? null : Buffer.from(data), version);
  }

  // A watch is set by a watcher; the events are looked for in this.events.
  watching(method, path) {
    return this.call(method, path, () => {});
  }

  commit(transaction) {
    return new Promise((resolve) => {
      transaction.commit((error, results) => resolve({ error: error ? error.getName() : null, results }));
    });
  }

  // sync waits until this client's server has what was acknowledged anywhere
  // before. The client has no sync, so it writes.
  async sync() {
    await this.call('remove', '/none').catch((e) => {
      if (e.getName() !== 'NO_NODE') {
        throw e;
      }
    });
  }

  async awaitEvents(n) {
    await until(`watch event ${n}`, () => this.events.length >= n);
    await this.sync();
  }

  session() {
    return this.zk.getSessionId().toString('hex');
  }
}

module.exports = {
  Client, want, until, refusal, failures, beVerbose: () => { verbose = true; },
};
