package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/coordd/coordd/internal/zkclient"
	"github.com/coordd/coordd/protocol"
)

// Root holds all that loads create.
const Root = "/coordd-bench"

// Site is where loads keep their znodes, from NewSite to Remove.
type Site struct {
	Dir string // of this site alone, below Root

	servers []string
	timeout time.Duration
	keys    int // that Fill has created
	loads   int
}

// NewSite makes a directory at the servers.
func NewSite(ctx context.Context, servers []string, timeout time.Duration) (*Site, error) {
	site := &Site{servers: servers, timeout: timeout}
	err := site.with(ctx, func(c *zkclient.Client) error {
		site.Dir = fmt.Sprintf("%s/%016x", Root, uint64(c.SessionID()))
		if _, err := c.Create(Root, nil, protocol.Persistent, nil); err != nil && !errors.Is(err, protocol.NodeExists) {
			return err
		}
		_, err := c.Create(site.Dir, nil, protocol.Persistent, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", site.Dir, err)
	}
	return site, nil
}

// with calls do with a session at the first server that takes one.
func (site *Site) with(ctx context.Context, do func(*zkclient.Client) error) error {
	var errs []error
	for _, addr := range site.servers {
		c, err := zkclient.Dial(ctx, addr, zkclient.Options{Timeout: site.timeout})
		if err == nil {
			return errors.Join(do(c), c.Close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Fill makes count keys with that data.
func (site *Site) Fill(ctx context.Context, count int, data []byte, spread Spread) (Keys, error) {
	keys := FlatKeys(site.Dir+"/keys", count, spread)
	site.keys = count
	err := site.with(ctx, func(c *zkclient.Client) error {
		if _, err := c.Create(keys.Dir, nil, protocol.Persistent, nil); err != nil {
			return err
		}
		return batched(c, protocol.OpCreate, func(yield func(protocol.Record) bool) {
			for i := range count {
				if !yield(&protocol.CreateRequest{Path: keys.Path(i), Data: data, ACL: protocol.WorldAnyone}) {
					return
				}
			}
		}, len(data), protocol.OK)
	})
	if err != nil {
		return Keys{}, fmt.Errorf("fill %s: %w", keys.Dir, err)
	}
	return keys, site.Sync(ctx)
}

// LoadDir makes a directory for the creates of one load.
func (site *Site) LoadDir(ctx context.Context) (string, error) {
	dir := fmt.Sprintf("%s/%d", site.Dir, site.loads)
	site.loads++
	err := site.with(ctx, func(c *zkclient.Client) error {
		_, err := c.Create(dir, nil, protocol.Persistent, nil)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("create %s: %w", dir, err)
	}
	return dir, site.Sync(ctx)
}

// Sync lets all servers catch up with what the site has written.
func (site *Site) Sync(ctx context.Context) error {
	for _, addr := range site.servers {
		one := Site{servers: []string{addr}, timeout: site.timeout}
		if err := one.with(ctx, func(c *zkclient.Client) error { return c.Sync(Root) }); err != nil {
			return fmt.Errorf("sync at %s: %w", addr, err)
		}
	}
	return nil
}

// Clean removes what a load has created, and its directory. It knows all names,
// since a listing of many znodes can be too long for a reply.
func (site *Site) Clean(r *Running) error {
	return site.with(context.Background(), func(c *zkclient.Client) error {
		if err := deleteAll(c, r.created()); err != nil {
			return fmt.Errorf("remove what is in %s: %w", r.load.Dir, err)
		}
		return deleteOne(c, r.load.Dir)
	})
}

// created are the paths of the znodes that the load has made and not deleted.
func (r *Running) created() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, s := range r.sessions {
			for i := s.deleted; i < s.created; i++ {
				if !yield(s.createdPath(i)) {
					return
				}
			}
			for _, number := range s.sequences {
				if !yield(fmt.Sprintf("%s%010d", s.sequentialPrefix(), number)) {
					return
				}
			}
		}
	}
}

// Remove removes the keys and the site. Loads are cleaned before.
func (site *Site) Remove() error {
	err := site.with(context.Background(), func(c *zkclient.Client) error {
		keys := site.Dir + "/keys"
		if err := deleteAll(c, func(yield func(string) bool) {
			for i := range site.keys {
				if !yield(fmt.Sprintf("%s/k%d", keys, i)) {
					return
				}
			}
		}); err != nil {
			return err
		}
		err := errors.Join(deleteOne(c, keys), deleteOne(c, site.Dir))
		// NotEmpty: another bench is running, or a tree was kept.
		if rootErr := deleteOne(c, Root); !errors.Is(rootErr, protocol.NotEmpty) {
			err = errors.Join(err, rootErr)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", site.Dir, err)
	}
	return nil
}

// deleteOne deletes a znode, which need not be there.
func deleteOne(c *zkclient.Client, path string) error {
	if err := c.Delete(path, protocol.AnyVersion); err != nil && !errors.Is(err, protocol.NoNode) {
		return err
	}
	return nil
}

// deleteAll deletes znodes, which need not be there.
func deleteAll(c *zkclient.Client, paths iter.Seq[string]) error {
	return batched(c, protocol.OpDelete, func(yield func(protocol.Record) bool) {
		for path := range paths {
			if !yield(&protocol.DeleteRequest{Path: path, Version: protocol.AnyVersion}) {
				return
			}
		}
	}, 0, protocol.NoNode)
}
