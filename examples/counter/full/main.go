// Full is the counter of examples/counter with TLS, changes of membership, snapshots,
// linearizable reads and metrics. docs/library.md explains each step.
//
// Each line on the standard input is a request. The host adds a number, and answers an
// empty line with the sum. The other requests are "add ID ADDRESS", "remove ID",
// "snapshot", "status" and "metrics".
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"raftlab/raft/core"
	"raftlab/raft/node"
	"raftlab/raft/tcp"
	"raftlab/raft/wal"
)

// counter is the state machine. Reads run beside Apply.
type counter struct{ sum atomic.Int64 }

func (c *counter) Apply(commands []node.Command) {
	for i := range commands {
		n, _ := strconv.ParseInt(string(commands[i].Data), 10, 64)
		commands[i].Result = strconv.AppendInt(nil, c.sum.Add(n), 10)
	}
}

func (c *counter) Snapshot() (io.WriterTo, error) {
	return strings.NewReader(fmt.Sprint(c.sum.Load())), nil
}

func (c *counter) Restore(body io.Reader) error {
	var n int64
	_, err := fmt.Fscan(body, &n)
	c.sum.Store(n)
	return err
}

// flags are the settings of a host.
type flags struct {
	id      uint64
	listen  string
	dir     string
	members string
	certs   string
	create  bool
	join    bool
}

func main() {
	var f flags
	flag.Uint64Var(&f.id, "id", 1, "this `host`, a number of its own for ever")
	flag.StringVar(&f.listen, "listen", "127.0.0.1:7001", "`address` for the other hosts")
	flag.StringVar(&f.dir, "dir", "counter-data", "`directory` of the host's log")
	flag.StringVar(&f.members, "members", "1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003", "the first `hosts`, as ID=ADDRESS, with commas")
	flag.StringVar(&f.certs, "certs", "", "`directory` of hostID.pem, hostID.key and ca.pem; without it there is no TLS")
	flag.BoolVar(&f.create, "create", false, "create the log of a new host")
	flag.BoolVar(&f.join, "join", false, "wait until the running group adds this host")
	flag.Parse()
	if err := f.run(os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

func (f *flags) run(in io.Reader, out io.Writer) error {
	c := &counter{}
	n, transport, err := f.start(c)
	if err != nil {
		return err
	}
	s := &service{n, c, transport}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		answer, err := s.answer(lines.Text())
		if err != nil {
			answer = err.Error()
		}
		fmt.Fprintln(out, answer)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Shutdown(ctx) // hands the leadership over first
}

func (f *flags) start(c *counter) (*node.Node, *tcp.Transport, error) {
	members, err := f.parseMembers()
	if err != nil {
		return nil, nil, err
	}
	opts := wal.Options{Identity: node.Identity{Cluster: "counter", Host: core.NodeID(f.id)}}
	if f.create {
		if err := wal.Create(f.dir, opts); err != nil {
			return nil, nil, err
		}
	}
	storage, err := wal.Open(f.dir, opts)
	if err != nil {
		return nil, nil, err
	}
	transport, err := tcp.Listen(tcp.Options{Listen: f.listen, TLS: f.tls(), Plaintext: f.certs == ""})
	if err != nil {
		return nil, nil, errors.Join(err, storage.Close())
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	n, err := node.Start(
		node.HostConfig{Storage: storage, Transport: transport, Logger: logger},
		node.Config{Members: members, Join: f.join, StateMachine: c})
	return n, transport, err
}

// parseMembers returns the first members of the group. A joining host learns the
// members from the leader.
func (f *flags) parseMembers() ([]node.Member, error) {
	if f.join {
		return nil, nil
	}
	var members []node.Member
	for _, m := range strings.Split(f.members, ",") {
		id, address, _ := strings.Cut(m, "=")
		number, err := strconv.ParseUint(id, 10, 64)
		if err != nil || address == "" {
			return nil, fmt.Errorf("-members has %q; want ID=ADDRESS", m)
		}
		members = append(members, node.Member{ID: core.NodeID(number), Address: address})
	}
	return members, nil
}

func (f *flags) tls() *tcp.TLS {
	if f.certs == "" {
		return nil
	}
	name := filepath.Join(f.certs, fmt.Sprint("host", f.id))
	return &tcp.TLS{CertFile: name + ".pem", KeyFile: name + ".key", CAFile: filepath.Join(f.certs, "ca.pem")}
}

// service answers requests.
type service struct {
	n         *node.Node
	c         *counter
	transport *tcp.Transport
}

// answer carries out one request.
func (s *service) answer(line string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	words := append(strings.Fields(line), "", "", "")
	switch words[0] {
	case "":
		return s.read(ctx)
	case "add":
		return "added", s.add(ctx, words[1], words[2])
	case "remove":
		return "removed", s.remove(ctx, words[1])
	case "snapshot":
		return "saved", s.n.Snapshot(ctx)
	case "status":
		return s.status(ctx)
	case "metrics":
		return s.metrics(), nil
	}
	if _, err := strconv.ParseInt(words[0], 10, 64); err != nil {
		return "", fmt.Errorf("%q is neither a number nor a request", line)
	}
	result, err := s.n.Propose(ctx, []byte(words[0]))
	return string(result.Data), err
}

// read returns the sum with every earlier acknowledged addition, on any host.
func (s *service) read(ctx context.Context) (string, error) {
	if _, err := s.n.ReadIndex(ctx); err != nil {
		return "", err
	}
	return fmt.Sprint(s.c.sum.Load()), nil
}

func (s *service) add(ctx context.Context, id, address string) error {
	number, err := strconv.ParseUint(id, 10, 64)
	if err != nil || address == "" {
		return errors.New("want add ID ADDRESS, for instance add 4 127.0.0.1:7004")
	}
	return s.n.ChangeMembers(ctx, node.AddVoter(core.NodeID(number), address))
}

func (s *service) remove(ctx context.Context, id string) error {
	number, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return errors.New("want remove ID, for instance remove 4")
	}
	return s.n.ChangeMembers(ctx, node.Remove(core.NodeID(number)))
}

func (s *service) status(ctx context.Context) (string, error) {
	st, err := s.n.Status(ctx)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%v of term %d, leader %d, applied %d of %d", st.State, st.CurrentTerm, st.Leader, st.LastApplied, st.LastIndex)
	for _, m := range st.Members {
		text += fmt.Sprintf("; host %d at %s, voter %v, %d entries behind", m.ID, m.Address, m.Voter, m.Lag)
	}
	return text, nil
}

func (s *service) metrics() string {
	group, host, network := s.n.Stats(), s.n.Host().Stats(), s.transport.Stats()
	return fmt.Sprintf("%d commands, 99 %% of the proposals within %v; %d saves, 99 %% within %v; log of %d bytes; %d messages sent, %d dropped",
		group.Commands, group.Proposals.Quantile(0.99), host.Saves.Count(), host.Saves.Quantile(0.99), host.Storage.Log,
		network.SentMessages, network.Dropped)
}
