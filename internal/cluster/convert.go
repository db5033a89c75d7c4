//go:build !wasip1

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"raftlab/internal/durable"
	"raftlab/internal/etcdapi"
	"raftlab/internal/kvstore"
	"raftlab/kv"
	"raftlab/kvraft"
	"raftlab/labrpc"
	"raftlab/raft/boltstore"
	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/rsm"
)

const (
	convertedSuffix = ".converted" // of a new data file before the conversion is complete
	formerSuffix    = ".former"    // of a data file that the conversion has replaced
)

// convertPatience bounds the wait for a leader of a former store.
const convertPatience = time.Minute

// convert replaces the data files of a store without groups of the former format. Keys,
// values and versions stay. Idempotency keys are forgotten. The former files stay beside
// the new ones, with the suffix .former.
//
// Until the new manifest is written, the former files are the truth. A conversion that
// was interrupted begins anew with them.
func (s *servers) convert(m manifest, dir string) (manifest, error) {
	files := m.sets(dir)[0].files
	converted := m
	converted.Format, converted.Complete = storeFormat, true
	for i, file := range files {
		if err := s.restoreFormer(file, m.fileOptions("", i), converted.fileOptions("", i)); err != nil {
			return m, err
		}
	}
	s.log.Info("converting the data directory", "dir", dir)
	machine, err := s.readFormer(m, dir)
	if err != nil {
		return m, fmt.Errorf("converting %s from format %d: %w; nothing was changed", dir, m.Format, err)
	}
	for i, file := range files {
		s.opts.step()
		if err := converted.writeConverted(machine, file+convertedSuffix, i); err != nil {
			return m, err
		}
	}
	for _, file := range files {
		s.opts.step()
		// A replica may have lost its former file.
		if err := durable.Replace(file, file+formerSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
		s.opts.step()
		if err := durable.Replace(file+convertedSuffix, file); err != nil {
			return m, err
		}
	}
	s.opts.step()
	s.log.Info("the data directory is converted, and the former files stay", "keys", machine.View().Keys(), "suffix", formerSuffix)
	return converted, converted.write(dir)
}

// restoreFormer undoes an interrupted conversion of a data file. The file of a replica
// without a former file is removed if the conversion made the file.
func (s *servers) restoreFormer(file string, former, converted boltstore.Options) error {
	s.opts.step()
	if err := os.Remove(file + convertedSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if holds(file, former) {
		return nil // a file with formerSuffix is of an earlier conversion, which an operator has undone
	}
	made, err := isConverted(file, converted)
	if err != nil {
		return err
	}
	s.opts.step()
	if err := durable.Replace(file+formerSuffix, file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !made {
		return nil
	}
	return errors.Join(os.Remove(file), durable.SyncDir(filepath.Dir(file)))
}

// holds reports whether a file says that it has the identity and the part of opts.
func holds(file string, opts boltstore.Options) bool {
	id, part, err := boltstore.Identify(file)
	return err == nil && id == opts.Identity && part == opts.Part
}

// isConverted reports whether a conversion made a file. isConverted refuses a file that
// has served the store since.
func isConverted(file string, opts boltstore.Options) (bool, error) {
	if !holds(file, opts) {
		return false, nil // damaged, of another store, or no file
	}
	store, err := boltstore.Open(file, opts)
	if errors.Is(err, node.ErrDamaged) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	at, err := store.Position(raftGroup)
	if err := errors.Join(err, store.Close()); err != nil {
		return false, err
	}
	if at != convertedPosition {
		dir := filepath.Dir(file)
		return false, fmt.Errorf("the manifest says that %s was never converted, but %s has served the converted store: restore the manifest%s",
			dir, filepath.Base(file), restoreAdvice(dir))
	}
	return true, nil
}

// convertedPosition is the position of a converted file before the store runs.
var convertedPosition = boltstore.Position{CurrentTerm: 1, LastTerm: 1, LastIndex: 1}

// readFormer runs the replicas of a former store, and reads the content.
func (s *servers) readFormer(m manifest, dir string) (machine *etcdapi.Machine, err error) {
	former := &servers{log: s.log, opts: s.opts, lock: s.lock, borrowed: true, net: labrpc.MakeNetwork(), linked: map[[2]int]*labrpc.ClientEnd{}}
	if err := former.start(m, dir, func(string, int) launcher { return onLog(startFormer) }); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, former.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), convertPatience)
	defer cancel()
	for {
		for _, r := range former.replicas {
			run := r.current()
			if run == nil || !run.server.member().IsLeader() {
				continue
			}
			machine, err = readKeys(ctx, run.server.(logService))
			if err == nil || !errors.Is(err, rsm.ErrNotLeader) {
				return machine, err
			}
		}
		if pause(ctx); ctx.Err() != nil {
			return nil, kvstore.ErrNoLeader
		}
	}
}

// readKeys reads all keys of a former store from its leader.
func readKeys(ctx context.Context, leader logService) (*etcdapi.Machine, error) {
	server := leader.rsmService.(formerService).KVServer
	var all []kv.Pair
	for scan := kv.Scan("", "", 0); ; {
		page, err := server.Do(ctx, 0, 0, scan)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Pairs...)
		if !page.More {
			break
		}
		scan.Key = page.Pairs[len(page.Pairs)-1].Key + "\x00"
	}
	st, err := leader.member().Status(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b kv.Pair) int {
		if a.Version < b.Version {
			return -1
		}
		return 1 // versions are unique
	})
	// A version was given to a key that is deleted, perhaps. No version is above the
	// number of applied entries.
	return etcdapi.Import(all, st.LastApplied)
}

// formerService is the service of a former store.
type formerService struct{ *kvraft.KVServer }

func startFormer(log rsm.Log, snapshot []byte, opts Options) (rsmService, error) {
	server, err := kvraft.Open(log, kvraft.Options{Snapshot: snapshot, Limits: kvstore.Limits, Logger: opts.Logger})
	return formerService{server}, err
}

func (s formerService) health() health {
	st := s.Status()
	return health{keys: st.Keys, sessions: st.Sessions, err: st.Err}
}

func (s formerService) rpc() any { return nil }

// writeConverted writes a data file with a state.
func (m manifest) writeConverted(machine *etcdapi.Machine, file string, peer int) error {
	opts := m.fileOptions("", peer)
	if err := boltstore.Create(file, opts); err != nil {
		return err
	}
	store, err := boltstore.Open(file, opts)
	if err != nil {
		return err
	}
	body, err := machine.Snapshot()
	if err != nil {
		return errors.Join(err, store.Close())
	}
	return errors.Join(m.saveState(store, body), store.Close())
}

// saveState saves a state as the first snapshot of the group.
func (m manifest) saveState(store *boltstore.Store, body io.WriterTo) error {
	var members core.Configuration
	for i := range m.Replicas {
		members.Members = append(members.Members, core.Member{ID: hostID(i)})
		members.Voters = append(members.Voters, hostID(i))
	}
	w, err := store.CreateSnapshot(raftGroup, node.SnapshotHeader{Index: convertedPosition.LastIndex, Term: convertedPosition.LastTerm, Configuration: members.Encode()})
	if err != nil {
		return err
	}
	defer w.Abort()
	if _, err := body.WriteTo(w); err != nil {
		return err
	}
	header, err := w.Commit()
	if err != nil {
		return err
	}
	return store.Save([]node.Update{{Group: raftGroup, HardState: &core.HardState{CurrentTerm: convertedPosition.CurrentTerm}, Snapshot: &header}})
}
