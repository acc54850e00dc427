package server

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

const clusterFile = "cluster-id"

// readClusterID returns the id of the cluster that dir belongs to; zero when
// it belongs to none yet.
func readClusterID(disk Disk, dir string) (id [16]byte, err error) {
	p, err := disk.ReadFile(filepath.Join(dir, clusterFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, fmt.Errorf("read cluster id: %w", err)
	}
	if n, err := hex.Decode(id[:], []byte(strings.TrimSpace(string(p)))); err != nil || n != len(id) {
		return id, fmt.Errorf("%s is damaged: it must hold 32 hexadecimal digits", filepath.Join(dir, clusterFile))
	}
	return id, nil
}

// writeDurably replaces the file name in dir, and is back when it is on disk.
func writeDurably(disk Disk, dir, name, text string) error {
	tmp := filepath.Join(dir, name+".tmp")
	if err := disk.WriteFile(tmp, text); err != nil {
		return err
	}
	if err := disk.Rename(tmp, filepath.Join(dir, name)); err != nil {
		return err
	}
	return disk.SyncDir(dir)
}

// removeDurably removes the file name from dir, and is back when it is gone
// from the disk too.
func removeDurably(disk Disk, dir, name string) error {
	if err := disk.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return disk.SyncDir(dir)
}

// learnCluster writes the cluster's id to the data directories. It runs in
// apply, which waits for the disk this once in a server's life.
func (s *Server) learnCluster(id [16]byte) {
	s.mu.Lock()
	known := s.cluster
	if known == ([16]byte{}) {
		s.cluster = id
	}
	s.mu.Unlock()
	if id == ([16]byte{}) || known == id {
		return
	}
	if known != ([16]byte{}) {
		s.fail(fmt.Errorf("data directory %s belongs to cluster %x, but the log to cluster %x", s.cfg.DataDir, known, id))
		return
	}
	dirs := []string{s.cfg.DataDir}
	if s.cfg.DataLogDir != s.cfg.DataDir {
		dirs = append(dirs, s.cfg.DataLogDir)
	}
	for _, dir := range dirs {
		if err := writeDurably(s.host.Disk, dir, clusterFile, hex.EncodeToString(id[:])+"\n"); err != nil {
			s.fail(fmt.Errorf("write cluster id: %w", err))
		}
	}
}
