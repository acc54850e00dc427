'use strict';
// All operations of the client node-zookeeper-client, checked.
//
//     crossing.js operations HOSTS
//     crossing.js crossing SURVIVORS VICTIM-FIRST
//
// The second form lives through the death of a server, see ../crossing_test.go:
// SURVIVORS are the hosts with those first that stay, VICTIM-FIRST the same with
// that first which is about to die. Exits with 0 if every check held.

const readline = require('readline');
const { ACL, CreateMode } = require('node-zookeeper-client');
const { Client, want, until, refusal, failures, beVerbose } = require('./client.js');
const operations = require('./operations.js');

async function setUp(orphan, helper) {
  await helper.create('/orphan', '');
  await helper.create('/orphan/counter', '');
  for (const i of [1, 2]) {
    for (const name of ['d', 'g', 'c']) {
      await helper.create(`/orphan/${name}${i}`, '');
    }
    await orphan.sync();
    await orphan.watching('getData', `/orphan/d${i}`);
    await orphan.watching('exists', `/orphan/g${i}`);
    await orphan.watching('getChildren', `/orphan/c${i}`);
    await orphan.watching('exists', `/orphan/x${i}`);
  }
  await orphan.create('/orphan/e', '', CreateMode.EPHEMERAL);
  want('sequential ephemeral', await orphan.create('/orphan/es-', '', CreateMode.EPHEMERAL_SEQUENTIAL), '/orphan/es-0000000008');
  orphan.zk.addAuthInfo('digest', Buffer.from('alice:secret'));
  await orphan.create('/orphan/acl', '', ACL.CREATOR_ALL_ACL);
}

// fire changes what setUp watches of the nodes with number i.
async function fire(helper, i) {
  await helper.set(`/orphan/d${i}`, 'x');
  await helper.call('remove', `/orphan/g${i}`);
  await helper.create(`/orphan/c${i}/n`, '');
  await helper.create(`/orphan/x${i}`, '');
}

function fired(i) {
  return [`NODE_DATA_CHANGED /orphan/d${i}`, `NODE_DELETED /orphan/g${i}`,
    `NODE_CHILDREN_CHANGED /orphan/c${i}`, `NODE_CREATED /orphan/x${i}`];
}

// count sets a counter, each time with the version it must have, without a
// pause, and returns that version and how many answers were lost.
async function count(orphan, helper, isOver) {
  let version = 0;
  let lost = 0;
  let away; // milliseconds from the orphan's loss to its next connection
  let crossed = false;
  while (!crossed || !isOver()) {
    const answer = await refusal(orphan.set('/orphan/counter', '', version));
    if (answer === 'CONNECTION_LOSS') {
      lost++;
    } else {
      version++;
      want('the counter', answer.version, version);
    }
    if (!crossed && orphan.losses > 0) {
      const since = Date.now();
      await Promise.all([
        fire(helper, 1), // while the orphan looks for another server
        until('another server', () => orphan.connections === 2).then(() => { away = Date.now() - since; }),
      ]);
      await orphan.sync();
      const stat = await orphan.call('exists', '/orphan/counter');
      if (answer === 'CONNECTION_LOSS' && stat.version === version + 1) {
        version++; // it took effect, only the answer was lost
      }
      want('the counter after the loss', stat.version, version);
      crossed = true;
    }
  }
  return { version, lost, away };
}

// checkOrphan checks what must hold once the orphan is with another server.
async function checkOrphan(orphan, helper, session, counted, restarted) {
  want('connections of the orphan', orphan.connections, 2);
  want('connections of the helper', helper.connections, 1);
  want('answers lost, at most one', counted.lost <= 1, true);
  want('its session', orphan.session(), session);
  await orphan.awaitEvents(4);
  want('events of changes meanwhile', [...orphan.events].sort(), fired(1).sort());
  await fire(helper, 2);
  await orphan.awaitEvents(8);
  want('events of changes after that', orphan.events.slice(4), fired(2));
  for (const i of [1, 2]) {
    await helper.set(`/orphan/d${i}`, 'x');
    await helper.set(`/orphan/x${i}`, 'x');
    await helper.create(`/orphan/c${i}/m`, '');
    await helper.create(`/orphan/g${i}`, '');
  }
  await orphan.sync();
  want('events in all', orphan.events.length, 8);
  want('it is authenticated again', (await orphan.call('getACL', '/orphan/acl'))[1].aversion, 0);

  const late = await new Client(restarted).open();
  await late.sync();
  const stat = await late.watching('exists', '/orphan/e');
  want('its ephemeral stayed', stat && stat.ephemeralOwner.toString('hex'), session);
  want('its sequential ephemeral stayed', await late.call('exists', '/orphan/es-0000000008') !== null, true);
  want('the counter, once more', (await late.call('exists', '/orphan/counter')).version, counted.version);
  await orphan.close();
  await late.awaitEvents(1);
  want('its ephemeral goes with it', late.events, ['NODE_DELETED /orphan/e']);
  await late.close();
}

async function cross(survivors, victimFirst) {
  let restarted; // the victim's address, once it is back
  readline.createInterface({ input: process.stdin }).once('line', (line) => { restarted = line; });
  const isOver = () => restarted !== undefined;

  const helper = await new Client(survivors).open();
  const orphan = await new Client(victimFirst).open();
  const session = orphan.session();
  await setUp(orphan, helper);
  const counting = count(orphan, helper, isOver);
  const zxids = [];
  for (let round = 1, over = false; !over; round++) {
    over = isOver(); // one more after that
    const base = `/round-${String(round).padStart(4, '0')}`;
    await operations(survivors, base);
    await helper.sync();
    zxids.push((await helper.call('exists', base)).czxid.toString('hex'));
    console.log(`round ${round}`);
  }
  const counted = await counting;
  await checkOrphan(orphan, helper, session, counted, restarted);
  await helper.close();
  console.log(`zxids ${zxids[0]} ${zxids[zxids.length - 1]}`);
  console.log(`answers lost: ${counted.lost} of ${counted.version + counted.lost}, back after ${counted.away / 1000} s`);
}

async function main([command, ...args]) {
  if (command === 'operations' && args.length === 1) {
    beVerbose();
    await operations(args[0], '/round-0001');
  } else if (command === 'crossing' && args.length === 2) {
    await cross(...args);
  } else {
    throw new Error('usage: crossing.js operations HOSTS | crossing.js crossing SURVIVORS VICTIM-FIRST');
  }
  process.exit(failures.length === 0 ? 0 : 1);
}

main(process.argv.slice(2)).catch((e) => {
  console.log(`failed: ${e.stack}`);
  process.exit(1);
});
