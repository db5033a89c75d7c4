package library

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"
	sm "github.com/lni/dragonboat/v4/statemachine"
)

type dragonSM struct{}

func (dragonSM) Update(e sm.Entry) (sm.Result, error) { return sm.Result{Data: e.Cmd[:8]}, nil }
func (dragonSM) Lookup(any) (any, error)              { return nil, nil }
func (dragonSM) SaveSnapshot(io.Writer, sm.ISnapshotFileCollection, <-chan struct{}) error {
	return nil
}
func (dragonSM) RecoverFromSnapshot(io.Reader, []sm.SnapshotFile, <-chan struct{}) error { return nil }
func (dragonSM) Close() error                                                            { return nil }

type dragon struct {
	hosts   []*dragonboat.NodeHost
	leader  *dragonboat.NodeHost
	session *client.Session
}

func startDragonboat(dir string) (cluster, error) {
	for _, name := range []string{"raft", "rsm", "transport", "grpc", "dragonboat", "logdb", "config", "raftpb", "utils", "tan", "registry", "settings"} {
		logger.GetLogger(name).SetLevel(logger.CRITICAL)
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	members := make(map[uint64]dragonboat.Target)
	for i, a := range addresses {
		members[uint64(i+1)] = a
	}
	d := &dragon{}
	for i, a := range addresses {
		nh, err := dragonboat.NewNodeHost(config.NodeHostConfig{
			NodeHostDir: filepath.Join(dir, fmt.Sprint(i+1)), RaftAddress: a, RTTMillisecond: 10,
		})
		if err != nil {
			return nil, err
		}
		d.hosts = append(d.hosts, nh)
		err = nh.StartReplica(members, false, func(uint64, uint64) sm.IStateMachine { return dragonSM{} },
			config.Config{ReplicaID: uint64(i + 1), ShardID: 1, ElectionRTT: 100, HeartbeatRTT: 10, CheckQuorum: true})
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *dragon) Propose(command []byte) error {
	if d.leader == nil {
		id, _, ok, err := d.hosts[0].GetLeaderID(1)
		if err != nil || !ok {
			return errors.Join(err, errors.New("no leader"))
		}
		d.leader = d.hosts[id-1]
		d.session = d.leader.GetNoOPSession(1)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := d.leader.SyncPropose(ctx, d.session, command)
	return err
}

func (d *dragon) Close() {
	for _, h := range d.hosts {
		h.Close()
	}
}
