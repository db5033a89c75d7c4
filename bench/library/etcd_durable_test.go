package library

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"

	etcdwal "go.etcd.io/etcd/server/v3/storage/wal"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// startEtcd starts three members with etcd's own log on disk and a connection for
// each direction between two members.
func startEtcd(async bool) func(dir string) (cluster, error) {
	return func(dir string) (cluster, error) {
		e, err := newEtcd(async)
		if err != nil {
			return nil, err
		}
		network, err := connectEtcd(e)
		if err != nil {
			return nil, err
		}
		e.close = func() {
			network.close()
			for _, n := range e.nodes {
				_ = n.log.Close()
			}
		}
		for _, n := range e.nodes {
			if n.log, err = etcdwal.Create(zap.NewNop(), filepath.Join(dir, fmt.Sprint(n.id)), nil); err != nil {
				return nil, err
			}
			if async {
				n.saves = &etcdSaver{wake: make(chan struct{}, 1)}
			}
		}
		e.run()
		network.start(e)
		return e, nil
	}
}

// etcdSaver is the storage thread of a member with AsyncStorageWrites. All saves
// that wait share one sync.
type etcdSaver struct {
	mu    sync.Mutex
	queue []*pb.Message
	wake  chan struct{}
}

func (s *etcdSaver) add(m *pb.Message) {
	s.mu.Lock()
	s.queue = append(s.queue, m)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *etcdSaver) run(n *etcdNode) {
	var entries []*pb.Entry
	for {
		select {
		case <-n.stop:
			return
		case <-s.wake:
		}
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		s.mu.Unlock()
		entries = entries[:0]
		state := &pb.HardState{}
		for _, m := range batch {
			entries = append(entries, m.GetEntries()...)
			if m.Term != nil {
				state = &pb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
			}
		}
		if err := n.log.Save(state, entries); err != nil {
			panic(err)
		}
		var answers []*pb.Message
		for _, m := range batch {
			if m.Term != nil {
				_ = n.storage.SetHardState(state)
			}
			_ = n.storage.Append(m.GetEntries())
			answers = append(answers, m.GetResponses()...)
		}
		n.deliver(answers)
		clear(entries)
	}
}

// etcdNetwork is a TCP connection for each pair of members and direction. A member
// writes all its messages for a peer in one call, without a goroutine between.
type etcdNetwork struct {
	listeners []net.Listener
	out       [3][3]*etcdConn // from, to
	in        []net.Conn      // in the order of out
	readers   sync.WaitGroup
}

type etcdConn struct {
	mu   sync.Mutex
	conn net.Conn
	buf  []byte
}

func connectEtcd(e *etcd) (*etcdNetwork, error) {
	network := &etcdNetwork{}
	for range e.nodes {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		network.listeners = append(network.listeners, l)
	}
	for from, n := range e.nodes {
		for to := range e.nodes {
			if from == to {
				continue
			}
			conn, err := net.Dial("tcp", network.listeners[to].Addr().String())
			if err != nil {
				return nil, err
			}
			network.out[from][to] = &etcdConn{conn: conn}
			accepted, err := network.listeners[to].Accept()
			if err != nil {
				return nil, err
			}
			network.in = append(network.in, accepted)
		}
		n.send = func(to uint64, messages []*pb.Message) { network.out[from][to-1].write(messages) }
	}
	return network, nil
}

// start reads from all connections.
func (network *etcdNetwork) start(e *etcd) {
	next := 0
	for from := range e.nodes {
		for to, n := range e.nodes {
			if from != to {
				conn := network.in[next]
				next++
				network.readers.Go(func() { readEtcd(conn, n) })
			}
		}
	}
}

func (network *etcdNetwork) close() {
	for _, l := range network.listeners {
		l.Close()
	}
	for _, conns := range network.out {
		for _, c := range conns {
			if c != nil {
				c.conn.Close()
			}
		}
	}
	network.readers.Wait()
}

func (c *etcdConn) write(messages []*pb.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	buf := c.buf[:0]
	for _, m := range messages {
		begin := len(buf)
		buf = append(buf, 0, 0, 0, 0)
		var err error
		if buf, err = (proto.MarshalOptions{}).MarshalAppend(buf, m); err != nil {
			panic(err)
		}
		binary.LittleEndian.PutUint32(buf[begin:], uint32(len(buf)-begin-4))
	}
	c.buf = buf
	_, _ = c.conn.Write(buf) // a closed connection ends the measurement
}

// readEtcd is the goroutine of an incoming connection. It hands over all messages
// that have arrived.
func readEtcd(conn net.Conn, n *etcdNode) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 64<<10)
	var buf []byte
	for {
		var messages []*pb.Message
		for first := true; first || in.Buffered() >= 4; first = false {
			m, err := readEtcdMessage(in, &buf)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					panic(err)
				}
				return
			}
			messages = append(messages, m)
		}
		n.put(func(in *etcdInbox) { in.messages = append(in.messages, messages...) })
	}
}

func readEtcdMessage(in io.Reader, buf *[]byte) (*pb.Message, error) {
	var length [4]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return nil, err
	}
	size := int(binary.LittleEndian.Uint32(length[:]))
	if cap(*buf) < size {
		*buf = make([]byte, size)
	}
	b := (*buf)[:size]
	if _, err := io.ReadFull(in, b); err != nil {
		return nil, err
	}
	m := new(pb.Message)
	return m, proto.Unmarshal(b, m)
}
