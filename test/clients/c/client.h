/* What operations.c and crossing.c share: handles that remember their events,
 * and checks that say what they wanted. */
#ifndef CLIENT_H
#define CLIENT_H

#include <pthread.h>
#include <stdint.h>
#include <zookeeper/zookeeper.h>

#define WAIT_S 30             /* any wait ends in milliseconds when all is well */
#define SESSION_TIMEOUT 20000 /* milliseconds */
#define MAX_EVENTS 64
#define PATH_SIZE 256

/* A handle with its watch events, in the order they came. */
struct client {
	zhandle_t *zh;
	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t changed;
	int connections; /* how often it became connected */
	int losses;      /* how often it ceased to be */
	int state;
	int count;
	struct { int type; char path[PATH_SIZE]; } events[MAX_EVENTS];
};

/* Connects to the first of hosts that answers, and waits for it. from is a
 * session to resume, or NULL. */
void client_open(struct client *c, const char *hosts, const clientid_t *from);
/* Waits until there were n connections. */
void client_await_connections(struct client *c, int n);
/* Waits for n events in all, and for a sync behind them. */
void client_await_events(struct client *c, int n);
/* How many events of this type came for path. */
int client_events(struct client *c, int type, const char *path);
/* Removes the events that came so far. */
void client_forget(struct client *c);
void client_sync(struct client *c);
void client_auth(struct client *c, const char *user_and_password);
/* The watcher for path watches; its context is the client. */
void on_event(zhandle_t *zh, int type, int state, const char *path, void *ctx);

/* A check. The program goes on after a failure, and ends with 1. */
void want(const char *what, long long got, long long wanted);
void want_text(const char *what, const char *got, const char *wanted);
/* Says why and ends the program. */
void die(const char *what);

extern int verbose;  /* says "ok" for each check that held */
extern int failures; /* checks that did not hold */

/* All operations of the client, below the new node base. */
void operations(const char *hosts, const char *base);

/* Creates an ephemeral node, writes the session's clientid_t to stdout and ends
 * the process without closing the session. */
void leave(const char *hosts, const char *path);

#endif
