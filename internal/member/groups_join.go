//go:build !wasip1

package member

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"raftlab/internal/datadir"
	"raftlab/internal/httpkv"
	"raftlab/internal/shardstore"
	"raftlab/raft/core"
)

// joinGroups returns who this process becomes in the store with groups at one of the
// addresses of Options.Join. The store says whether it takes the process. Each directory
// has an id of its own, because a process without its data has forgotten its votes.
func (m *Member) joinGroups() (newcomer, error) {
	var random [8]byte
	rand.Read(random[:]) // never fails
	n := newcomer{id: core.NodeID(max(binary.BigEndian.Uint64(random[:])>>1, 1))}
	var all []error
	for _, address := range m.opts.Join {
		ctx, cancel := context.WithTimeout(context.Background(), joinTimeout/3)
		err := m.askToJoin(ctx, address, &n)
		cancel()
		if err == nil {
			return n, nil
		}
		all = append(all, fmt.Errorf("joining through %s: %w", address, err))
	}
	return n, errors.Join(all...)
}

// askToJoin asks the process at an address whether the store takes this process.
func (m *Member) askToJoin(ctx context.Context, address string, n *newcomer) error {
	client, err := m.client(address)
	if err != nil {
		return err
	}
	defer client.HTTP.CloseIdleConnections()
	store, err := client.Members(ctx)
	if err != nil {
		return err
	}
	switch {
	case store.Cluster != m.opts.ClusterName:
		return fmt.Errorf("the store is %q, and this process is for %q (--cluster-name)", store.Cluster, m.opts.ClusterName)
	case store.Groups != m.opts.Groups:
		return fmt.Errorf("%w: the store has %s, and this process was started for %s", datadir.ErrGroups, groupsInWords(store.Groups), groupsInWords(m.opts.Groups))
	}
	if store.ClusterNumber != "" {
		if err := n.number.UnmarshalText([]byte(store.ClusterNumber)); err != nil {
			return err
		}
	}
	n.roster, n.replaces = nil, 0
	for _, one := range store.Members {
		id, err := strconv.ParseUint(one.ID, 16, 64)
		if err != nil {
			return fmt.Errorf("the id %q of %s: %w", one.ID, one.Name, err)
		}
		n.roster = append(n.roster, shardstore.Member{Name: one.Name, ID: core.NodeID(id), Address: one.Address})
		if one.Name == m.opts.Replace && !one.Learner {
			n.replaces = datadir.Number(id)
		}
	}
	request := m.asNewMember(n.id, m.opts.Replace, n.replaces)
	request.Check = true
	return client.AddMember(ctx, request)
}

// asNewMember describes this process for the store. A name without an id is the process that
// has the name now.
func (m *Member) asNewMember(id core.NodeID, replaces string, replacesID datadir.Number) httpkv.NewMember {
	n := httpkv.NewMember{Name: m.opts.Name, ID: datadir.Number(id).String(), Address: m.opts.AdvertisePeer, Replaces: replaces}
	if replacesID != 0 {
		n.ReplacesID = replacesID.String()
	}
	return n
}

// client returns a client of the process at an address.
func (m *Member) client(address string) (*httpkv.Client, error) {
	config, err := m.clientTLS()
	if err != nil {
		return nil, err
	}
	return &httpkv.Client{BaseURL: address, HTTP: &http.Client{Transport: &http.Transport{TLSClientConfig: config}}}, nil
}

// join has the store add this process, whose replicas wait for the leaders. An interrupted
// process goes on with the same id.
func (s *groupStore) join(ctx context.Context) {
	o := &s.member.opts
	dir := s.registry.dir
	n := s.member.asNewMember(core.NodeID(dir.ID), dir.Replaces, dir.ReplacesID)
	for i := 0; ; i++ {
		address := o.Join[i%len(o.Join)]
		err := s.joinThrough(ctx, address, n)
		var refused *httpkv.Error
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if err := s.registry.joined(); err != nil {
				s.fail(err)
			}
			s.member.log.Info("the process has joined the store")
			return
		case errors.As(err, &refused) && refused.Status != http.StatusServiceUnavailable:
			s.fail(fmt.Errorf("joining through %s: %w", address, err))
			return
		}
		s.member.log.Info("the process has not joined the store yet; it asks again", "through", address, "error", err)
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
			return
		}
	}
}

// joinThrough asks the process at an address to add this one.
func (s *groupStore) joinThrough(ctx context.Context, address string, n httpkv.NewMember) error {
	client, err := s.member.client(address)
	if err != nil {
		return err
	}
	defer client.HTTP.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	return client.AddMember(ctx, n)
}

// Members implements handler.Members.
func (v groupV1) Members() httpkv.Members {
	dir := v.store.registry.dir
	all := httpkv.Members{Cluster: dir.Cluster, Groups: dir.Groups, Members: []httpkv.StoreMember{}}
	if dir.ClusterNumber != 0 {
		all.ClusterNumber = dir.ClusterNumber.String()
	}
	for _, p := range v.Processes() {
		all.Members = append(all.Members, httpkv.StoreMember{
			Name: p.Name, ID: datadir.Number(p.ID).String(), Address: p.Address, Learner: p.Learner, Groups: p.Groups,
		})
	}
	return all
}

// AddMember implements handler.Members.
func (v groupV1) AddMember(ctx context.Context, n httpkv.NewMember) error {
	var id, replaces datadir.Number
	err := id.UnmarshalText([]byte(n.ID))
	if n.ReplacesID != "" {
		err = errors.Join(err, replaces.UnmarshalText([]byte(n.ReplacesID)))
	}
	if err != nil || n.Name == "" || n.Address == "" {
		return &httpkv.Error{Status: http.StatusBadRequest, Code: httpkv.BadRequest, Message: "a process has a name, an address, and an id in hexadecimal"}
	}
	c := shardstore.ProcessChange{Add: shardstore.Member{Name: n.Name, ID: core.NodeID(id), Address: n.Address}, Remove: n.Replaces, RemoveID: core.NodeID(replaces)}
	if n.Check {
		return v.CheckChange(ctx, c)
	}
	return v.ChangeProcesses(ctx, c)
}

// RemoveMember implements handler.Members.
func (v groupV1) RemoveMember(ctx context.Context, name string) error {
	return v.ChangeProcesses(ctx, shardstore.ProcessChange{Remove: name})
}
