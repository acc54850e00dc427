'use strict';
// All operations of the client, below the new node base.

const { ACL, CreateMode, Id, Permission } = require('node-zookeeper-client');
const { Client, want, until, refusal } = require('./client.js');

function owner(stat) {
  return stat.ephemeralOwner.toString('hex');
}

async function creates(zk, base) {
  want('create', await zk.create(`${base}/a`, 'one'), `${base}/a`);
  want('create without data', await zk.create(`${base}/null`, null), `${base}/null`);
  want('create ephemeral', await zk.create(`${base}/a/e`, 'two', CreateMode.EPHEMERAL), `${base}/a/e`);
  want('its owner', owner(await zk.call('exists', `${base}/a/e`)), zk.session());
  want('create sequential', await zk.create(`${base}/a/s-`, '', CreateMode.PERSISTENT_SEQUENTIAL), `${base}/a/s-0000000001`);
  want('create ephemeral sequential', await zk.create(`${base}/a/es-`, '', CreateMode.EPHEMERAL_SEQUENTIAL), `${base}/a/es-0000000002`);
  want('create large', await zk.create(`${base}/large`, Buffer.alloc(1000 * 1000, 'x')), `${base}/large`);
  want('mkdirp', await zk.call('mkdirp', `${base}/d/e`), `${base}/d/e`);
  want('create again', await refusal(zk.create(`${base}/a`, '')), 'NODE_EXISTS');
  want('create without parent', await refusal(zk.create(`${base}/x/y`, '')), 'NO_NODE');
  want('create below ephemeral', await refusal(zk.create(`${base}/a/e/x`, '')), 'NO_CHILDREN_FOR_EPHEMERALS');
  want('create with a bad ACL', await refusal(zk.create(`${base}/x`, '', [new ACL(Permission.ALL, new Id('nosuch', 'x'))])), 'INVALID_ACL');
  want('create for nobody', await refusal(zk.create(`${base}/x`, '', ACL.CREATOR_ALL_ACL)), 'INVALID_ACL');
}

async function reads(zk, base) {
  const stat = await zk.call('exists', `${base}/a`);
  want('exists', [stat.version, stat.cversion, stat.numChildren, stat.dataLength], [0, 3, 3, 3]);
  want('its zxids', [stat.mzxid.equals(stat.czxid), stat.pzxid.equals(stat.czxid)], [true, false]);
  want('exists not', await zk.call('exists', `${base}/none`), null);
  const [data, dataStat] = await zk.call('getData', `${base}/a`);
  want('get', [data.toString(), dataStat.version], ['one', 0]);
  want('get null', (await zk.call('getData', `${base}/null`))[0], undefined);
  const large = (await zk.call('getData', `${base}/large`))[0];
  want('get large', large.equals(Buffer.alloc(1000 * 1000, 'x')), true);
  want('get none', await refusal(zk.call('getData', `${base}/none`)), 'NO_NODE');
  const [children, parent] = await zk.call('getChildren', `${base}/a`);
  want('get children', children.sort(), ['e', 'es-0000000002', 's-0000000001']);
  want('and stat', parent.numChildren, 3);
  want('children of none', await refusal(zk.call('getChildren', `${base}/none`)), 'NO_NODE');
  const [acls, aclStat] = await zk.call('getACL', `${base}/a`);
  want('get ACL', acls.map(String), ACL.OPEN_ACL_UNSAFE.map(String));
  want('and stat', aclStat.aversion, 0);
  want('ACL of none', await refusal(zk.call('getACL', `${base}/none`)), 'NO_NODE');
}

async function writes(zk, base) {
  want('set', (await zk.set(`${base}/a`, 'new')).version, 1);
  want('set of a version', (await zk.set(`${base}/a`, 'newer', 1)).version, 2);
  want('set of a wrong version', await refusal(zk.set(`${base}/a`, 'x', 1)), 'BAD_VERSION');
  want('set none', await refusal(zk.set(`${base}/none`, 'x')), 'NO_NODE');
  want('delete with children', await refusal(zk.call('remove', `${base}/a`)), 'NOT_EMPTY');
  want('delete of a wrong version', await refusal(zk.call('remove', `${base}/null`, 7)), 'BAD_VERSION');
  want('delete', await zk.call('remove', `${base}/null`, 0), undefined);
  want('delete again', await refusal(zk.call('remove', `${base}/null`)), 'NO_NODE');
  want('delete what is special', await refusal(zk.call('remove', '/zookeeper')), 'BAD_ARGUMENTS');
  await zk.call('remove', `${base}/large`);
  await zk.call('removeRecursive', `${base}/d`);
  want('after a recursive delete', await zk.call('exists', `${base}/d`), null);
}

async function accessLists(hosts, other, base) {
  const zk = await new Client(hosts).open();
  zk.zk.addAuthInfo('digest', Buffer.from('alice:secret'));
  want('create for oneself', await zk.create(`${base}/acl`, 'x', ACL.CREATOR_ALL_ACL), `${base}/acl`);
  const id = (await zk.call('getACL', `${base}/acl`))[0][0].id;
  want('its identity', [id.scheme, id.id], ['digest', 'alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=']);
  await other.sync();
  want('get of another', await refusal(other.call('getData', `${base}/acl`)), 'NO_AUTH');
  want('children of another', await refusal(other.call('getChildren', `${base}/acl`)), 'NO_AUTH');
  want('set of another', await refusal(other.set(`${base}/acl`, 'y')), 'NO_AUTH');
  want('create of another', await refusal(other.create(`${base}/acl/x`, '')), 'NO_AUTH');
  want('ACL of another', await refusal(other.call('getACL', `${base}/acl`)), 'NO_AUTH');
  want('set ACL of a wrong version', await refusal(zk.call('setACL', `${base}/acl`, ACL.READ_ACL_UNSAFE, 5)), 'BAD_VERSION');
  want('set ACL', (await zk.call('setACL', `${base}/acl`, ACL.READ_ACL_UNSAFE, 0)).aversion, 1);
  await other.sync();
  want('get of another that may', (await other.call('getData', `${base}/acl`))[0].toString(), 'x');
  want('set of another that may not', await refusal(other.set(`${base}/acl`, 'y')), 'NO_AUTH');
  await zk.dropConnection();
  want('it is authenticated again', await zk.create(`${base}/acl2`, 'x', ACL.CREATOR_ALL_ACL), `${base}/acl2`);
  await zk.close();
}

// The client takes version 0 for any version in a transaction.
async function multis(zk, base) {
  const good = zk.zk.transaction()
    .create(`${base}/m`, Buffer.from('0'))
    .create(`${base}/m/s-`, Buffer.from(''), ACL.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL_SEQUENTIAL)
    .create(`${base}/m/c`, Buffer.from(''))
    .setData(`${base}/m`, Buffer.from('12'))
    .check(`${base}/m`, 1)
    .remove(`${base}/m/c`);
  const { error, results } = await zk.commit(good);
  want('multi', error, null);
  want('the types of its results', results.map((r) => r.type), [1, 1, 1, 5, 13, 2]);
  want('the name it made', results[1].path, `${base}/m/s-0000000000`);
  want('the stat it made', [results[3].stat.version, results[3].stat.dataLength], [1, 2]);
  const bad = zk.zk.transaction().create(`${base}/m/x`).check(`${base}/m`, 9).remove(`${base}/m`);
  const refused = await zk.commit(bad);
  want('multi whose second fails', refused.error, 'BAD_VERSION');
  want('its results', refused.results.map((r) => r.err), [0, -103, -2]);
  want('nothing is left of it', await zk.call('exists', `${base}/m/x`), null);
}

async function watches(zk, other, base) {
  const w = `${base}/w`;
  zk.events.length = 0;
  const wanted = [];
  const seen = async (what, ...events) => {
    wanted.push(...events);
    await zk.awaitEvents(wanted.length);
    want(what, zk.events, wanted);
  };
  want('watch for a node', await zk.watching('exists', w), null);
  await other.create(w, '');
  await seen('created', `NODE_CREATED ${w}`);
  await zk.watching('getData', w);
  await other.set(w, 'x');
  await seen('changed', `NODE_DATA_CHANGED ${w}`);
  await other.set(w, 'unseen');
  await zk.watching('getChildren', w);
  await other.create(`${w}/x`, '');
  await seen('children changed', `NODE_CHILDREN_CHANGED ${w}`);
  await zk.sync();
  await zk.watching('exists', `${w}/x`);
  await zk.watching('getChildren', `${w}/x`);
  await other.call('remove', `${w}/x`);
  await seen('deleted, once for both', `NODE_DELETED ${w}/x`);

  // Over a new connection, with a change of each kind behind it.
  await zk.watching('getData', w);
  await zk.watching('getChildren', w);
  await zk.watching('exists', `${w}/y`);
  await zk.dropConnection();
  await other.create(`${w}/y`, '');
  await seen('after a reconnection', `NODE_CREATED ${w}/y`, `NODE_CHILDREN_CHANGED ${w}`);
  await other.set(w, 'y');
  await seen('and data', `NODE_DATA_CHANGED ${w}`);
  await other.set(w, 'unseen');
  await zk.sync();
  want('events in all', zk.events, wanted);
}

// Requests that are all under way at once.
async function bursts(zk, base) {
  const n = 200;
  await zk.create(`${base}/burst`, '');
  const names = [];
  const replies = [];
  for (let i = 0; i < n; i++) {
    replies.push(zk.create(`${base}/burst/n-`, '', CreateMode.PERSISTENT_SEQUENTIAL).then((name) => names.push(name)));
  }
  const [children] = await zk.call('getChildren', `${base}/burst`);
  want('children that a read behind the creates sees', children.length, n);
  await Promise.all(replies);
  want('creates in order', names, [...Array(n).keys()].map((i) => `${base}/burst/n-${String(i).padStart(10, '0')}`));
}

// A session that another client takes over, and one that was closed.
async function sessions(hosts, other, base) {
  const first = await new Client(hosts).open();
  await first.create(`${base}/mine`, '', CreateMode.EPHEMERAL);
  first.vanish();
  const second = await new Client(hosts, first).open();
  want('the same session', second.session(), first.session());
  want('its ephemeral', owner(await second.call('exists', `${base}/mine`)), first.session());
  await other.sync();
  other.events.length = 0;
  await other.watching('exists', `${base}/mine`);
  await second.close();
  await other.awaitEvents(1);
  want('its ephemeral goes with it', other.events, [`NODE_DELETED ${base}/mine`]);
  const late = new Client(hosts, second);
  late.zk.connect();
  await until('Expired', () => late.expired);
  want('connections to the closed session', late.connections, 0);
}

module.exports = async function operations(hosts, base) {
  const one = await new Client(hosts).open();
  const two = await new Client(hosts).open();
  want('create the base', await one.create(base, ''), base);
  await creates(one, base);
  await reads(one, base);
  await writes(one, base);
  await accessLists(hosts, two, base);
  await multis(one, base);
  await watches(one, two, base);
  await bursts(one, base);
  await sessions(hosts, two, base);
  want('connections', [one.connections, two.connections], [2, 1]);
  await one.close();
  await two.close();
};
