//go:build applications

package applications

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// onlooker reads an application's znodes, at any server that is there.
type onlooker struct {
	zoo    *zoo
	client *zkclient.Client // nil when there is none
}

func (z *zoo) onlooker(t *testing.T) *onlooker {
	o := &onlooker{zoo: z}
	t.Cleanup(o.hangUp)
	return o
}

func (o *onlooker) connected() (*zkclient.Client, error) {
	if o.client != nil {
		return o.client, nil
	}
	err := errors.New("no server")
	for _, s := range o.zoo.servers {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		o.client, err = zkclient.Dial(ctx, s.Addr(), zkclient.Options{})
		cancel()
		if err == nil {
			return o.client, nil
		}
		o.client = nil
	}
	return nil, err
}

// ask lets use have a client; once more if the first one's connection is lost.
func (o *onlooker) ask(use func(*zkclient.Client) error) error {
	var err error
	for range 2 {
		client, failed := o.connected()
		if failed != nil {
			return failed
		}
		var code protocol.ErrCode
		if err = use(client); err == nil || errors.As(err, &code) {
			return err
		}
		o.hangUp()
	}
	return err
}

func (o *onlooker) hangUp() {
	if o.client != nil {
		o.client.HangUp()
		o.client = nil
	}
}

func (o *onlooker) get(path string) (data []byte, stat protocol.Stat, err error) {
	err = o.ask(func(client *zkclient.Client) error {
		data, stat, err = client.Get(path, false)
		return err
	})
	if err != nil {
		return nil, protocol.Stat{}, fmt.Errorf("get %s: %w", path, err)
	}
	return data, stat, nil
}

func (o *onlooker) children(path string) (children []string, err error) {
	err = o.ask(func(client *zkclient.Client) error {
		children, _, err = client.Children(path, false)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	return children, nil
}

// births says which znodes are there, of which sessions, and since which
// transaction: two equal answers mean that none was lost and made again.
func (o *onlooker) births(paths ...string) (string, error) {
	var b strings.Builder
	for _, path := range paths {
		_, stat, err := o.get(path)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s of session %#x since %#x\n", path, stat.EphemeralOwner, stat.Czxid)
	}
	return b.String(), nil
}

// withoutLeader kills the leader of the servers under an application at work.
// Its sessions are to live on: when those that did not have expired at the next
// leader, what state reports is as it was, and every write was acknowledged. The
// longest wait for that is reported, beside the longest of a few seconds in peace.
func (z *zoo) withoutLeader(t *testing.T, application string, w *load, sessionTimeout time.Duration, state func() (string, error)) {
	t.Helper()
	asked := func() string {
		t.Helper()
		var now string
		eventually(t, patience, application+"'s znodes", func() (err error) {
			now, err = state()
			return err
		})
		return now
	}
	const event = "nothing of it killed: longest wait of a writer"
	start := time.Now()
	before := asked()
	time.Sleep(5 * time.Second)
	w.awaitWrites(t, 20, patience)
	report(t, application, event, false, w.longestWait(t, start))

	leader := z.leader(t)
	start = time.Now()
	leader.Kill()
	time.Sleep(sessionTimeout + 5*time.Second)
	w.awaitWrites(t, 20, patience)
	report(t, application, event, true, w.longestWait(t, start))
	if after := asked(); after != before {
		t.Errorf("%s noticed that the servers' leader was killed:\n%s\nbefore:\n%s", application, after, before)
	}
	for _, a := range w.since(t, start) {
		if a.failure != "" {
			t.Errorf("a write failed when the servers' leader was killed: %s", a.failure)
		}
	}
	z.revive(t, leader)
}
