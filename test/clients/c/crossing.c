/* All operations of ZooKeeper's C client, checked.
 *
 *     crossing operations HOSTS
 *     crossing crossing SURVIVORS VICTIM-FIRST
 *
 * The second form lives through the death of a server, see ../crossing_test.go:
 * SURVIVORS are the hosts with those first that stay, VICTIM-FIRST the same with
 * that first which is about to die. Exits 0 if every check held.
 */
#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the reader of stdin and the threads tell each other. */
static pthread_mutex_t told = PTHREAD_MUTEX_INITIALIZER;
static char restarted[PATH_SIZE]; /* the victim's address, once it is back; guarded by told */

static double seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *read_stdin(void *unused)
{
	char line[PATH_SIZE];
	(void)unused;
	if (fgets(line, sizeof line, stdin) == NULL)
		die("stdin ended before the crossing");
	line[strcspn(line, "\n")] = 0;
	pthread_mutex_lock(&told);
	strcpy(restarted, line);
	pthread_mutex_unlock(&told);
	return NULL;
}

static int is_over(void)
{
	pthread_mutex_lock(&told);
	int over = restarted[0] != 0;
	pthread_mutex_unlock(&told);
	return over;
}

/* The client whose server dies, and one elsewhere that changes what it watches. */
static struct client orphan, helper;
static int64_t counter; /* what /orphan/counter must hold */
static int lost;        /* answers that the orphan did not get */
static double away;     /* seconds from its loss to its next connection */

static void create(struct client *c, const char *path, int mode)
{
	want(path, zoo_create(c->zh, path, "", 0, &ZOO_OPEN_ACL_UNSAFE, mode, NULL, 0), ZOK);
}

static void set(struct client *c, const char *path)
{
	want(path, zoo_set(c->zh, path, "x", 1, -1), ZOK);
}

static void set_up(void)
{
	struct String_vector names;
	struct Stat stat;
	char data[8];

	create(&helper, "/orphan", ZOO_PERSISTENT);
	create(&helper, "/orphan/counter", ZOO_PERSISTENT);
	for (int i = 1; i <= 2; i++) {
		char d[32], g[32], c[32], x[32];
		snprintf(d, sizeof d, "/orphan/d%d", i);
		snprintf(g, sizeof g, "/orphan/g%d", i);
		snprintf(c, sizeof c, "/orphan/c%d", i);
		snprintf(x, sizeof x, "/orphan/x%d", i);
		create(&helper, d, ZOO_PERSISTENT);
		create(&helper, g, ZOO_PERSISTENT);
		create(&helper, c, ZOO_PERSISTENT);
		client_sync(&orphan);
		int length = sizeof data;
		want("watch d", zoo_wget(orphan.zh, d, on_event, &orphan, data, &length, &stat), ZOK);
		want("watch g", zoo_wexists(orphan.zh, g, on_event, &orphan, &stat), ZOK);
		want("watch x", zoo_wexists(orphan.zh, x, on_event, &orphan, &stat), ZNONODE);
		want("watch c", zoo_wget_children(orphan.zh, c, on_event, &orphan, &names), ZOK);
		deallocate_String_vector(&names);
	}
	create(&orphan, "/orphan/e", ZOO_EPHEMERAL);
	create(&orphan, "/orphan/es-", ZOO_EPHEMERAL_SEQUENTIAL);
	client_auth(&orphan, "alice:secret");
	want("create for oneself", zoo_create(orphan.zh, "/orphan/acl", "", 0, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0), ZOK);
}

/* Fires the watches that set_up left on the nodes with number i. */
static void fire(int i)
{
	char d[32], g[32], c[32], x[32];
	snprintf(d, sizeof d, "/orphan/d%d", i);
	snprintf(g, sizeof g, "/orphan/g%d", i);
	snprintf(c, sizeof c, "/orphan/c%d/n", i);
	snprintf(x, sizeof x, "/orphan/x%d", i);
	set(&helper, d);
	want(g, zoo_delete(helper.zh, g, -1), ZOK);
	create(&helper, c, ZOO_PERSISTENT);
	create(&helper, x, ZOO_PERSISTENT);
}

static void want_fired(int i)
{
	char d[32], g[32], c[32], x[32];
	snprintf(d, sizeof d, "/orphan/d%d", i);
	snprintf(g, sizeof g, "/orphan/g%d", i);
	snprintf(c, sizeof c, "/orphan/c%d", i);
	snprintf(x, sizeof x, "/orphan/x%d", i);
	want(d, client_events(&orphan, ZOO_CHANGED_EVENT, d), 1);
	want(g, client_events(&orphan, ZOO_DELETED_EVENT, g), 1);
	want(c, client_events(&orphan, ZOO_CHILD_EVENT, c), 1);
	want(x, client_events(&orphan, ZOO_CREATED_EVENT, x), 1);
}

static int has_lost_server(void)
{
	pthread_mutex_lock(&orphan.lock);
	int n = orphan.losses;
	pthread_mutex_unlock(&orphan.lock);
	return n > 0;
}

/* Sets a counter, each time with the version it must have, without a pause. */
static void *count(void *unused)
{
	int crossed = 0;
	(void)unused;
	while (!crossed || !is_over()) {
		struct Stat stat;
		int rc = zoo_set2(orphan.zh, "/orphan/counter", "", 0, counter, &stat);
		if (rc == ZOK)
			counter++;
		else if (rc == ZCONNECTIONLOSS)
			lost++;
		else
			want("set the counter", rc, ZOK);
		if (!crossed && (rc == ZCONNECTIONLOSS || has_lost_server())) {
			double since = seconds();
			fire(1); /* while the orphan looks for another server */
			client_await_connections(&orphan, 2);
			away = seconds() - since;
			client_sync(&orphan);
			want("get the counter", zoo_exists(orphan.zh, "/orphan/counter", 0, &stat), ZOK);
			if (rc == ZCONNECTIONLOSS && stat.version == counter + 1)
				counter++; /* it took effect, only the answer was lost */
			want("the counter after the loss", stat.version, counter);
			crossed = 1;
		}
	}
	return NULL;
}

/* What must hold once the orphan is with another server. */
static void check_orphan(int64_t session)
{
	struct Stat stat;
	struct client late;
	char data[8];
	int length = sizeof data;

	want("connections of the orphan", orphan.connections, 2);
	want("connections of the helper", helper.connections, 1);
	want("answers lost, at most one", lost <= 1, 1);
	want("its session", zoo_client_id(orphan.zh)->client_id, session);
	client_await_events(&orphan, 4);
	want_fired(1);
	fire(2);
	client_await_events(&orphan, 8);
	want_fired(2);
	set(&helper, "/orphan/d1");
	set(&helper, "/orphan/d2");
	set(&helper, "/orphan/x1");
	set(&helper, "/orphan/x2");
	create(&helper, "/orphan/c1/m", ZOO_PERSISTENT);
	create(&helper, "/orphan/c2/m", ZOO_PERSISTENT);
	create(&helper, "/orphan/g1", ZOO_PERSISTENT);
	create(&helper, "/orphan/g2", ZOO_PERSISTENT);
	client_sync(&orphan);
	want("events in all", orphan.count, 8);
	want("it is authenticated again", zoo_get(orphan.zh, "/orphan/acl", 0, data, &length, &stat), ZOK);

	client_open(&late, restarted, NULL);
	client_sync(&late);
	want("its ephemeral stayed", zoo_wexists(late.zh, "/orphan/e", on_event, &late, &stat), ZOK);
	want("with its owner", stat.ephemeralOwner, session);
	want("its sequential ephemeral stayed", zoo_exists(late.zh, "/orphan/es-0000000008", 0, &stat), ZOK);
	want("the counter, once more", zoo_exists(late.zh, "/orphan/counter", 0, &stat), ZOK);
	want("its version", stat.version, counter);
	want("close", zookeeper_close(orphan.zh), ZOK);
	client_await_events(&late, 1);
	want("its ephemeral goes with it", client_events(&late, ZOO_DELETED_EVENT, "/orphan/e"), 1);
	want("close", zookeeper_close(late.zh), ZOK);
}

static void cross(const char *survivors, const char *victim_first)
{
	pthread_t reader, counting;
	struct Stat stat;
	int64_t before = 0;
	int over = 0, round = 0;

	client_open(&helper, survivors, NULL);
	client_open(&orphan, victim_first, NULL);
	int64_t session = zoo_client_id(orphan.zh)->client_id;
	set_up();
	pthread_create(&reader, NULL, read_stdin, NULL);
	pthread_create(&counting, NULL, count, NULL);
	while (!over) {
		char base[32];
		over = is_over(); /* one more after that */
		snprintf(base, sizeof base, "/round-%04d", ++round);
		operations(survivors, base);
		client_sync(&helper);
		want(base, zoo_exists(helper.zh, base, 0, &stat), ZOK);
		if (round == 1)
			before = stat.czxid;
		printf("round %d\n", round);
		fflush(stdout);
	}
	pthread_join(counting, NULL);
	check_orphan(session);
	want("close", zookeeper_close(helper.zh), ZOK);
	printf("zxids %" PRIx64 " %" PRIx64 "\n", before, stat.czxid);
	printf("answers lost: %d of %" PRId64 ", back after %.3f s\n", lost, counter + lost, away);
}

int main(int argc, char **argv)
{
	zoo_deterministic_conn_order(1);
	zoo_set_debug_level(0);
	if (argc == 3 && strcmp(argv[1], "operations") == 0) {
		verbose = 1;
		operations(argv[2], "/round-0001");
	} else if (argc == 4 && strcmp(argv[1], "leave") == 0) {
		leave(argv[2], argv[3]); /* operations starts this */
	} else if (argc == 4 && strcmp(argv[1], "crossing") == 0) {
		cross(argv[2], argv[3]);
	} else {
		fprintf(stderr, "usage: crossing operations HOSTS | crossing crossing SURVIVORS VICTIM-FIRST\n");
		return 2;
	}
	return failures != 0;
}
