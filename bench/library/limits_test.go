package library

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// limits are the times that the machine needs for the parts of a proposal.
type limits struct {
	size    int
	sync    time.Duration // write and fdatasync
	three   time.Duration // of the slowest of three syncs of three files at a time
	tcp     time.Duration // round trip
	channel time.Duration // round trip between two goroutines
	bare    time.Duration // see bareReplication
}

func measureLimits(t *testing.T, size int) limits {
	l := limits{size: size, tcp: tcpRoundTrip(t, size), channel: channelRoundTrip(), bare: bareReplication(t, size)}
	files := []*syncedFile{newSyncedFile(t, size), newSyncedFile(t, size), newSyncedFile(t, size)}
	l.sync = each(200, func(int) error { return files[0].save() })
	l.three = each(200, func(int) error {
		var all sync.WaitGroup
		for _, f := range files {
			all.Go(func() { f.failed = f.save() })
		}
		all.Wait()
		return files[0].failed
	})
	return l
}

// each returns the median time of a call.
func each(n int, f func(i int) error) time.Duration {
	times := make([]time.Duration, n)
	for i := range times {
		begun := time.Now()
		if err := f(i); err != nil {
			return 0
		}
		times[i] = time.Since(begun)
	}
	slices.Sort(times)
	return times[n/2]
}

// syncedFile is a file that has its full size. Each save writes a page, as a log
// with one small entry does.
type syncedFile struct {
	file   *os.File
	page   []byte
	offset int64
	failed error
}

const syncedBytes = 4 << 20

func newSyncedFile(t *testing.T, size int) *syncedFile {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(make([]byte, syncedBytes)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return &syncedFile{file: f, page: make([]byte, (size+4095)/4096*4096)}
}

func (f *syncedFile) save() error {
	if _, err := f.file.WriteAt(f.page, f.offset); err != nil {
		return err
	}
	f.offset = (f.offset + int64(len(f.page))) % (syncedBytes - int64(len(f.page)))
	return syscall.Fdatasync(int(f.file.Fd()))
}

func channelRoundTrip() time.Duration {
	ping, pong := make(chan int), make(chan int)
	defer close(ping)
	go func() { // ends when ping is closed
		for i := range ping {
			pong <- i
		}
	}()
	return each(10_000, func(i int) error { ping <- i; <-pong; return nil })
}

// tcpRoundTrip is the median time of a message to loopback and back.
func tcpRoundTrip(t *testing.T, size int) time.Duration {
	conn := dialServer(t, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	buf := make([]byte, size)
	return each(1000, func(int) error {
		if _, err := conn.Write(buf); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, buf)
		return err
	})
}

// dialServer returns a connection to a goroutine that serves it. Both end with the
// test.
func dialServer(t *testing.T, serve func(net.Conn)) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	served, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		defer served.Close()
		serve(served)
	})
	t.Cleanup(func() { conn.Close(); running.Wait() })
	return conn
}

// bareReplication is the median time of what a leader has to wait for, without any
// Raft. A goroutine writes the data to two others over TCP and to its file. The
// others write to their files and answer. All three sync. The data is replicated
// when the first goroutine's sync and one answer are there.
func bareReplication(t *testing.T, size int) time.Duration {
	answers := make(chan struct{}, 1000)
	var followers [2]net.Conn
	for i := range followers {
		file := newSyncedFile(t, size)
		followers[i] = dialServer(t, func(conn net.Conn) {
			buf := make([]byte, size)
			for {
				if _, err := io.ReadFull(conn, buf); err != nil || file.save() != nil {
					return
				}
				if _, err := conn.Write(buf[:8]); err != nil {
					return
				}
			}
		})
		var reading sync.WaitGroup
		reading.Go(func() {
			buf := make([]byte, 8)
			for {
				if _, err := io.ReadFull(followers[i], buf); err != nil {
					return
				}
				answers <- struct{}{}
			}
		})
		t.Cleanup(reading.Wait)
		t.Cleanup(func() { followers[i].Close() })
	}
	file := newSyncedFile(t, size)
	data := make([]byte, size)
	received := 0
	return each(400, func(i int) error {
		for _, conn := range followers {
			if _, err := conn.Write(data); err != nil {
				return err
			}
		}
		if err := file.save(); err != nil {
			return err
		}
		for ; received < 2*i+1; received++ { // the other answer may come with the next ones
			<-answers
		}
		return nil
	})
}

// freeAddresses returns loopback addresses that nothing listens on.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
