#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int verbose;
int failures;
static pthread_mutex_t printing = PTHREAD_MUTEX_INITIALIZER;

static void report(const char *what, int held, const char *got, const char *wanted)
{
	pthread_mutex_lock(&printing);
	if (!held) {
		failures++;
		printf("failed %s: got %s, want %s\n", what, got, wanted);
	} else if (verbose) {
		printf("ok %s\n", what);
	}
	fflush(stdout);
	pthread_mutex_unlock(&printing);
}

void want(const char *what, long long got, long long wanted)
{
	char g[32], w[32];
	snprintf(g, sizeof g, "%lld", got);
	snprintf(w, sizeof w, "%lld", wanted);
	report(what, got == wanted, g, w);
}

void want_text(const char *what, const char *got, const char *wanted)
{
	report(what, strcmp(got, wanted) == 0, got, wanted);
}

void die(const char *what)
{
	printf("failed: %s\n", what);
	fflush(stdout);
	_Exit(1);
}

static struct timespec deadline(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += WAIT_S;
	return t;
}

/* Waits for a change; to be called with the lock held. */
static void await_change(struct client *c, const struct timespec *until, const char *what)
{
	if (pthread_cond_timedwait(&c->changed, &c->lock, until) != 0)
		die(what);
}

void on_event(zhandle_t *zh, int type, int state, const char *path, void *ctx)
{
	struct client *c = ctx;
	(void)zh, (void)state;
	if (type == ZOO_SESSION_EVENT)
		return; /* on_session has it */
	pthread_mutex_lock(&c->lock);
	if (c->count == MAX_EVENTS)
		die("too many events");
	c->events[c->count].type = type;
	snprintf(c->events[c->count].path, PATH_SIZE, "%s", path);
	c->count++;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

static void on_session(zhandle_t *zh, int type, int state, const char *path, void *ctx)
{
	struct client *c = ctx;
	if (type != ZOO_SESSION_EVENT) {
		on_event(zh, type, state, path, ctx);
		return;
	}
	pthread_mutex_lock(&c->lock);
	if (state == ZOO_CONNECTED_STATE)
		c->connections++;
	else if (c->state == ZOO_CONNECTED_STATE)
		c->losses++;
	c->state = state;
	pthread_cond_broadcast(&c->changed);
	pthread_mutex_unlock(&c->lock);
}

void client_open(struct client *c, const char *hosts, const clientid_t *from)
{
	memset(c, 0, sizeof *c);
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->changed, NULL);
	c->zh = zookeeper_init(hosts, on_session, SESSION_TIMEOUT, from, c, 0);
	if (c->zh == NULL)
		die("zookeeper_init");
	client_await_connections(c, 1);
}

void client_await_connections(struct client *c, int n)
{
	struct timespec until = deadline();
	pthread_mutex_lock(&c->lock);
	while (c->connections < n)
		await_change(c, &until, "a connection never came");
	pthread_mutex_unlock(&c->lock);
}

void client_await_events(struct client *c, int n)
{
	struct timespec until = deadline();
	pthread_mutex_lock(&c->lock);
	while (c->count < n)
		await_change(c, &until, "a watch event never came");
	pthread_mutex_unlock(&c->lock);
	client_sync(c);
}

int client_events(struct client *c, int type, const char *path)
{
	int n = 0;
	pthread_mutex_lock(&c->lock);
	for (int i = 0; i < c->count; i++)
		n += c->events[i].type == type && strcmp(c->events[i].path, path) == 0;
	pthread_mutex_unlock(&c->lock);
	return n;
}

void client_forget(struct client *c)
{
	pthread_mutex_lock(&c->lock);
	c->count = 0;
	pthread_mutex_unlock(&c->lock);
}

/* A call of the asynchronous interface that somebody waits for. */
struct pending {
	pthread_mutex_t lock;
	pthread_cond_t done;
	int rc;
	int over;
};

static void finish(int rc, struct pending *p)
{
	pthread_mutex_lock(&p->lock);
	p->rc = rc;
	p->over = 1;
	pthread_cond_broadcast(&p->done);
	pthread_mutex_unlock(&p->lock);
}

static void await_pending(struct pending *p, const char *what)
{
	struct timespec until = deadline();
	pthread_mutex_lock(&p->lock);
	while (!p->over)
		if (pthread_cond_timedwait(&p->done, &p->lock, &until) != 0)
			die(what);
	pthread_mutex_unlock(&p->lock);
	want(what, p->rc, ZOK);
}

static void synced(int rc, const char *value, const void *data)
{
	(void)value;
	finish(rc, (struct pending *)data);
}

void client_sync(struct client *c)
{
	struct pending p = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
	want("ask for a sync", zoo_async(c->zh, "/", synced, &p), ZOK);
	await_pending(&p, "sync");
}

static void authenticated(int rc, const void *data)
{
	finish(rc, (struct pending *)data);
}

void client_auth(struct client *c, const char *user_and_password)
{
	struct pending p = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};
	want("ask for authentication", zoo_add_auth(c->zh, "digest", user_and_password, strlen(user_and_password), authenticated, &p), ZOK);
	await_pending(&p, "authenticate");
}
