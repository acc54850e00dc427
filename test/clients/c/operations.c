#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TTL_MS 60000

/* A path below base. The buffers are reused after 16 calls. */
static const char *at(const char *base, const char *name)
{
	static char buffers[16][PATH_SIZE];
	static int next;
	char *buffer = buffers[next++ % 16];
	snprintf(buffer, PATH_SIZE, "%s%s", base, name);
	return buffer;
}

static int create(struct client *c, const char *path, const char *data, int mode)
{
	return zoo_create(c->zh, path, data, strlen(data), &ZOO_OPEN_ACL_UNSAFE, mode, NULL, 0);
}

static void creates(struct client *c, const char *base)
{
	char name[PATH_SIZE];
	struct Stat stat;
	int64_t session = zoo_client_id(c->zh)->client_id;

	want("create", zoo_create(c->zh, at(base, "/a"), "one", 3, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, name, sizeof name), ZOK);
	want_text("its name", name, at(base, "/a"));
	want("create without data", zoo_create(c->zh, at(base, "/null"), NULL, -1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0), ZOK);
	want("create ephemeral", create(c, at(base, "/a/e"), "two", ZOO_EPHEMERAL), ZOK);
	want("exists ephemeral", zoo_exists(c->zh, at(base, "/a/e"), 0, &stat), ZOK);
	want("its owner", stat.ephemeralOwner, session);
	want("create sequential", zoo_create(c->zh, at(base, "/a/s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, name, sizeof name), ZOK);
	want_text("its name", name, at(base, "/a/s-0000000001"));
	want("create ephemeral sequential", zoo_create2(c->zh, at(base, "/a/es-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, name, sizeof name, &stat), ZOK);
	want_text("its name", name, at(base, "/a/es-0000000002"));
	want("its owner", stat.ephemeralOwner, session);
	want("create2", zoo_create2(c->zh, at(base, "/b"), "three", 5, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, name, sizeof name, &stat), ZOK);
	want("its length", stat.dataLength, 5);
	want("its version", stat.version, 0);
	want("its zxids", stat.mzxid == stat.czxid && stat.pzxid == stat.czxid && stat.czxid > 0, 1);
	want("create container", create(c, at(base, "/c"), "", ZOO_CONTAINER), ZOK);
	want("create2 container", zoo_create2(c->zh, at(base, "/c2"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0, &stat), ZOK);
	want("its owner", stat.ephemeralOwner, 0);
	want("create TTL", zoo_create_ttl(c->zh, at(base, "/t"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, TTL_MS, name, sizeof name), ZOK);
	want_text("its name", name, at(base, "/t"));
	want("create2 sequential TTL", zoo_create2_ttl(c->zh, at(base, "/ts-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, TTL_MS, name, sizeof name, &stat), ZOK);
	want_text("its name", name, at(base, "/ts-0000000006"));
	want("its owner", stat.ephemeralOwner, 0);
	want("TTL out of range", zoo_create_ttl(c->zh, at(base, "/t2"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, -1, NULL, 0), ZBADARGUMENTS);

	want("create again", create(c, at(base, "/a"), "", ZOO_PERSISTENT), ZNODEEXISTS);
	want("create without parent", create(c, at(base, "/x/y"), "", ZOO_PERSISTENT), ZNONODE);
	want("create below ephemeral", create(c, at(base, "/a/e/x"), "", ZOO_PERSISTENT), ZNOCHILDRENFOREPHEMERALS);
	want("create at a bad path", create(c, at(base, "//x"), "", ZOO_PERSISTENT), ZBADARGUMENTS);
	struct ACL nosuch = {ZOO_PERM_ALL, {"nosuch", "x"}};
	struct ACL_vector bad = {1, &nosuch};
	want("create with a bad ACL", zoo_create(c->zh, at(base, "/x"), "", 0, &bad, ZOO_PERSISTENT, NULL, 0), ZINVALIDACL);
	struct ACL_vector none = {0, NULL};
	want("create with an empty ACL", zoo_create(c->zh, at(base, "/x"), "", 0, &none, ZOO_PERSISTENT, NULL, 0), ZINVALIDACL);
}

static void reads(struct client *c, const char *base)
{
	struct Stat stat;
	struct String_vector names;
	struct ACL_vector acl;
	char data[64];
	int length = sizeof data;

	want("exists", zoo_exists(c->zh, at(base, "/a"), 0, &stat), ZOK);
	want("its children", stat.numChildren, 3);
	want("its cversion", stat.cversion, 3);
	want("exists not", zoo_exists(c->zh, at(base, "/none"), 0, &stat), ZNONODE);
	want("get", zoo_get(c->zh, at(base, "/a"), 0, data, &length, &stat), ZOK);
	want("its length", length, 3);
	want("its bytes", memcmp(data, "one", 3), 0);
	length = sizeof data;
	want("get null", zoo_get(c->zh, at(base, "/null"), 0, data, &length, &stat), ZOK);
	want("its length", length, -1);
	want("get none", zoo_get(c->zh, at(base, "/none"), 0, data, &length, &stat), ZNONODE);
	want("get children", zoo_get_children(c->zh, at(base, "/a"), 0, &names), ZOK);
	want("their number", names.count, 3);
	deallocate_String_vector(&names);
	want("get children and stat", zoo_get_children2(c->zh, at(base, "/c"), 0, &names, &stat), ZOK);
	want("their number", names.count, 0);
	want("the parent's owner", stat.ephemeralOwner, 0);
	deallocate_String_vector(&names);
	want("children of none", zoo_get_children(c->zh, at(base, "/none"), 0, &names), ZNONODE);
	want("get ACL", zoo_get_acl(c->zh, at(base, "/a"), &acl, &stat), ZOK);
	want("its entries", acl.count, 1);
	want_text("its scheme", acl.data[0].id.scheme, "world");
	deallocate_ACL_vector(&acl);
	want("ACL of none", zoo_get_acl(c->zh, at(base, "/none"), &acl, &stat), ZNONODE);
	char config[4096];
	length = sizeof config;
	want("get config", zoo_getconfig(c->zh, 0, config, &length, &stat), ZOK);
	want("reconfig", zoo_reconfig(c->zh, NULL, "3", NULL, -1, config, &length, &stat), ZRECONFIGDISABLED);
}

static void writes(struct client *c, const char *base)
{
	struct Stat stat;
	static char large[1000 * 1000], back[1000 * 1000];
	int length = sizeof back;

	want("set", zoo_set(c->zh, at(base, "/a"), "new", 3, -1), ZOK);
	want("set of a version", zoo_set2(c->zh, at(base, "/a"), "newer", 5, 1, &stat), ZOK);
	want("the new version", stat.version, 2);
	want("its length", stat.dataLength, 5);
	want("set of a wrong version", zoo_set(c->zh, at(base, "/a"), "x", 1, 1), ZBADVERSION);
	want("set none", zoo_set(c->zh, at(base, "/none"), "x", 1, -1), ZNONODE);
	want("set null", zoo_set(c->zh, at(base, "/b"), NULL, -1, 0), ZOK);
	want("delete with children", zoo_delete(c->zh, at(base, "/a"), -1), ZNOTEMPTY);
	want("delete of a wrong version", zoo_delete(c->zh, at(base, "/b"), 7), ZBADVERSION);
	want("delete", zoo_delete(c->zh, at(base, "/b"), 1), ZOK);
	want("delete again", zoo_delete(c->zh, at(base, "/b"), -1), ZNONODE);
	want("delete what is special", zoo_delete(c->zh, "/zookeeper", -1), ZBADARGUMENTS);
	memset(large, 'x', sizeof large);
	want("create large", zoo_create(c->zh, at(base, "/large"), large, sizeof large, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0), ZOK);
	want("get large", zoo_get(c->zh, at(base, "/large"), 0, back, &length, &stat), ZOK);
	want("its length", length, sizeof large);
	want("its bytes", memcmp(large, back, sizeof large), 0);
	want("delete large", zoo_delete(c->zh, at(base, "/large"), 0), ZOK);
}

static void access_lists(const char *hosts, struct client *other, const char *base)
{
	struct client c;
	struct ACL_vector acl;
	struct Stat stat;
	char data[8];
	int length = sizeof data;

	client_open(&c, hosts, NULL);
	want("create for nobody", zoo_create(c.zh, at(base, "/acl"), "x", 1, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0), ZINVALIDACL);
	client_auth(&c, "alice:secret");
	want("create for oneself", zoo_create(c.zh, at(base, "/acl"), "x", 1, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0), ZOK);
	want("get ACL", zoo_get_acl(c.zh, at(base, "/acl"), &acl, &stat), ZOK);
	want("its entries", acl.count, 1);
	want_text("its scheme", acl.data[0].id.scheme, "digest");
	want_text("its id", acl.data[0].id.id, "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=");
	deallocate_ACL_vector(&acl);
	client_sync(other);
	want("get of another", zoo_get(other->zh, at(base, "/acl"), 0, data, &length, &stat), ZNOAUTH);
	want("set of another", zoo_set(other->zh, at(base, "/acl"), "y", 1, -1), ZNOAUTH);
	want("create of another", create(other, at(base, "/acl/x"), "", ZOO_PERSISTENT), ZNOAUTH);
	want("exists of another", zoo_exists(other->zh, at(base, "/acl"), 0, &stat), ZNOAUTH);
	want("get ACL of another", zoo_get_acl(other->zh, at(base, "/acl"), &acl, &stat), ZNOAUTH);
	want("set ACL of a wrong version", zoo_set_acl(c.zh, at(base, "/acl"), 5, &ZOO_OPEN_ACL_UNSAFE), ZBADVERSION);
	want("set ACL", zoo_set_acl(c.zh, at(base, "/acl"), 0, &ZOO_READ_ACL_UNSAFE), ZOK);
	client_sync(other);
	want("get of another that may", zoo_get(other->zh, at(base, "/acl"), 0, data, &length, &stat), ZOK);
	want("the ACL's version", stat.aversion, 1);
	want("set of another that may not", zoo_set(other->zh, at(base, "/acl"), "y", 1, -1), ZNOAUTH);
	want("close", zookeeper_close(c.zh), ZOK);
}

static void multis(struct client *c, const char *base)
{
	zoo_op_t ops[6];
	zoo_op_result_t results[6];
	struct Stat stat;
	char name[PATH_SIZE], container[PATH_SIZE];

	zoo_create_op_init(&ops[0], at(base, "/m"), "0", 1, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0);
	zoo_create_op_init(&ops[1], at(base, "/m/s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, name, sizeof name);
	zoo_create_op_init(&ops[2], at(base, "/m/c"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, container, sizeof container);
	zoo_check_op_init(&ops[3], at(base, "/m"), 0);
	zoo_set_op_init(&ops[4], at(base, "/m"), "12", 2, 0, &stat);
	zoo_delete_op_init(&ops[5], at(base, "/m/c"), -1);
	want("multi", zoo_multi(c->zh, 6, ops, results), ZOK);
	for (int i = 0; i < 6; i++)
		want("each of its results", results[i].err, ZOK);
	want_text("the name it made", name, at(base, "/m/s-0000000000"));
	want("the version it made", stat.version, 1);
	want("the length it made", stat.dataLength, 2);

	zoo_create_op_init(&ops[0], at(base, "/m/x"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0);
	zoo_check_op_init(&ops[1], at(base, "/m"), 9);
	zoo_delete_op_init(&ops[2], at(base, "/m"), -1);
	want("multi whose second fails", zoo_multi(c->zh, 3, ops, results), ZBADVERSION);
	want("the result before", results[0].err, ZOK);
	want("the result", results[1].err, ZBADVERSION);
	want("the result behind", results[2].err, ZRUNTIMEINCONSISTENCY);
	want("nothing is left of it", zoo_exists(c->zh, at(base, "/m/x"), 0, &stat), ZNONODE);
	want("empty multi", zoo_multi(c->zh, 0, ops, results), ZOK);
}

static void watches(struct client *c, struct client *other, const char *base)
{
	struct String_vector names;
	struct Stat stat;
	char data[8];
	int length = sizeof data;

	client_forget(c);
	want("watch for a node", zoo_wexists(c->zh, at(base, "/w"), on_event, c, &stat), ZNONODE);
	want("create it", create(other, at(base, "/w"), "", ZOO_PERSISTENT), ZOK);
	client_await_events(c, 1);
	want("created", client_events(c, ZOO_CREATED_EVENT, at(base, "/w")), 1);
	want("watch data", zoo_wget(c->zh, at(base, "/w"), on_event, c, data, &length, &stat), ZOK);
	want("change it", zoo_set(other->zh, at(base, "/w"), "x", 1, -1), ZOK);
	client_await_events(c, 2);
	want("changed", client_events(c, ZOO_CHANGED_EVENT, at(base, "/w")), 1);
	want("change it unseen", zoo_set(other->zh, at(base, "/w"), "y", 1, -1), ZOK);
	want("watch children", zoo_wget_children(c->zh, at(base, "/w"), on_event, c, &names), ZOK);
	deallocate_String_vector(&names);
	want("add one", create(other, at(base, "/w/x"), "", ZOO_PERSISTENT), ZOK);
	client_await_events(c, 3);
	want("children changed", client_events(c, ZOO_CHILD_EVENT, at(base, "/w")), 1);
	client_sync(c);
	want("watch children and stat", zoo_wget_children2(c->zh, at(base, "/w"), on_event, c, &names, &stat), ZOK);
	deallocate_String_vector(&names);
	want("watch a child", zoo_wexists(c->zh, at(base, "/w/x"), on_event, c, &stat), ZOK);
	want("delete it", zoo_delete(other->zh, at(base, "/w/x"), -1), ZOK);
	client_await_events(c, 5);
	want("deleted", client_events(c, ZOO_DELETED_EVENT, at(base, "/w/x")), 1);
	want("children changed again", client_events(c, ZOO_CHILD_EVENT, at(base, "/w")), 2);

	want("watch to remove", zoo_wexists(c->zh, at(base, "/w"), on_event, c, &stat), ZOK);
	want("remove another kind", zoo_remove_watches(c->zh, at(base, "/w"), ZWATCHTYPE_CHILD, on_event, c, 0), ZNOWATCHER);
	want("remove it", zoo_remove_watches(c->zh, at(base, "/w"), ZWATCHTYPE_DATA, on_event, c, 0), ZOK);
	want("remove it again", zoo_remove_watches(c->zh, at(base, "/w"), ZWATCHTYPE_DATA, on_event, c, 0), ZNOWATCHER);
	want("watch to remove", zoo_wget_children(c->zh, at(base, "/w"), on_event, c, &names), ZOK);
	deallocate_String_vector(&names);
	want("remove all of it", zoo_remove_all_watches(c->zh, at(base, "/w"), ZWATCHTYPE_ANY, 0), ZOK);
	client_sync(c);
	client_forget(c);
	want("change it unseen", zoo_set(other->zh, at(base, "/w"), "z", 1, -1), ZOK);
	want("add one unseen", create(other, at(base, "/w/y"), "", ZOO_PERSISTENT), ZOK);
	client_sync(c);
	want("events of watches that were removed", c->count, 0);
}

/* Creates that are all under way at once. */
#define BURST 200
struct burst {
	pthread_mutex_t lock;
	int replies, in_order;
};

static void burst_reply(int rc, const char *name, const void *data)
{
	struct burst *b = (struct burst *)data;
	char end[16];
	pthread_mutex_lock(&b->lock);
	snprintf(end, sizeof end, "-%010d", b->replies++);
	b->in_order += rc == ZOK && name != NULL && strlen(name) > 11 && strcmp(name + strlen(name) - 11, end) == 0;
	pthread_mutex_unlock(&b->lock);
}

static void bursts(struct client *c, const char *base)
{
	struct burst b = {PTHREAD_MUTEX_INITIALIZER, 0, 0};
	struct Stat stat;
	want("create a parent", create(c, at(base, "/burst"), "", ZOO_PERSISTENT), ZOK);
	for (int i = 0; i < BURST; i++)
		if (zoo_acreate(c->zh, at(base, "/burst/n-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL, burst_reply, &b) != ZOK)
			die("zoo_acreate");
	/* Behind them, so it is answered after them. */
	want("exists", zoo_exists(c->zh, at(base, "/burst"), 0, &stat), ZOK);
	want("children that a read behind the creates sees", stat.numChildren, BURST);
	client_sync(c);
	pthread_mutex_lock(&b.lock);
	want("creates in order", b.in_order, BURST);
	pthread_mutex_unlock(&b.lock);
}

void leave(const char *hosts, const char *path)
{
	struct client c;
	client_open(&c, hosts, NULL);
	want("create ephemeral", create(&c, path, "", ZOO_EPHEMERAL), ZOK);
	if (failures == 0)
		fwrite(zoo_client_id(c.zh), sizeof(clientid_t), 1, stdout);
	fflush(stdout);
	_exit(failures);
}

/* A session taken over from a process that is gone, and one that was closed. */
static void sessions(const char *hosts, struct client *other, const char *base)
{
	struct client second;
	struct Stat stat;
	clientid_t id;
	char command[1024];

	snprintf(command, sizeof command, "/proc/%d/exe leave %s %s", getpid(), hosts, at(base, "/mine"));
	FILE *process = popen(command, "r");
	if (process == NULL || fread(&id, sizeof id, 1, process) != 1)
		die("no session from another process");
	want("the other process", pclose(process), 0);
	client_open(&second, hosts, &id);
	want("the same session", zoo_client_id(second.zh)->client_id, id.client_id);
	want("exists", zoo_exists(second.zh, at(base, "/mine"), 0, &stat), ZOK);
	want("its owner", stat.ephemeralOwner, id.client_id);
	client_sync(other);
	client_forget(other);
	want("watch it", zoo_wexists(other->zh, at(base, "/mine"), on_event, other, &stat), ZOK);
	want("close", zookeeper_close(second.zh), ZOK);
	client_await_events(other, 1);
	want("deleted", client_events(other, ZOO_DELETED_EVENT, at(base, "/mine")), 1);

	zhandle_t *closed = zookeeper_init(hosts, NULL, SESSION_TIMEOUT, &id, NULL, 0);
	for (int i = 0; i < WAIT_S * 100 && !is_unrecoverable(closed); i++)
		usleep(10000);
	want("the closed session", zoo_state(closed), ZOO_EXPIRED_SESSION_STATE);
	want("exists in it", zoo_exists(closed, base, 0, &stat), ZINVALIDSTATE);
	zookeeper_close(closed);
}

void operations(const char *hosts, const char *base)
{
	struct client one, two;
	client_open(&one, hosts, NULL);
	client_open(&two, hosts, NULL);
	want("create the base", create(&one, base, "", ZOO_PERSISTENT), ZOK);
	creates(&one, base);
	reads(&one, base);
	writes(&one, base);
	access_lists(hosts, &two, base);
	multis(&one, base);
	watches(&one, &two, base);
	bursts(&one, base);
	sessions(hosts, &two, base);
	want("connections", one.connections + two.connections, 2);
	want("close", zookeeper_close(one.zh), ZOK);
	want("close", zookeeper_close(two.zh), ZOK);
}
