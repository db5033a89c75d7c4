//go:build !wasip1

package mini

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pair returns the two ends of a connection.
func pair(t *testing.T, network, address string) (*net.TCPConn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen(network, address)
	must(t, err)
	defer l.Close()
	c, err := net.Dial(network, l.Addr().String())
	must(t, err)
	s, err := l.Accept()
	must(t, err)
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

// TestHTTP serves many requests at once, with and without TLS.
func TestHTTP(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		time.Sleep(time.Duration(len(body)) * 100 * time.Microsecond)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.Proto, len(body))
	})
	secure := httptest.NewUnstartedServer(handler)
	secure.EnableHTTP2 = true
	secure.StartTLS()
	for _, server := range []*httptest.Server{httptest.NewServer(handler), secure} {
		var wg sync.WaitGroup
		var mu sync.Mutex
		for i := range 20 {
			wg.Go(func() {
				r, err := server.Client().Post(server.URL, "text/plain", strings.NewReader(strings.Repeat("x", i*1000)))
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				b, err := io.ReadAll(r.Body)
				mu.Lock()
				fmt.Println(server.URL, string(b), err)
				mu.Unlock()
			})
		}
		wg.Wait()
		server.Close()
	}
}

// TestStreams checks the properties of a TCP connection.
func TestStreams(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", "10.1.2.3:4000", ":0"} {
		c, s := pair(t, "tcp", address)
		must(t, c.SetReadDeadline(time.Now().Add(time.Second)))
		before := time.Now()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(before) < time.Second {
			t.Errorf("a read past its deadline: %v after %v", err, time.Since(before))
		}
		// A half-closed connection.
		_, err := c.Write([]byte("all of it"))
		must(t, err)
		must(t, c.CloseWrite())
		got, err := io.ReadAll(s)
		if string(got) != "all of it" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
			t.Error("a write after CloseWrite: ", err)
		}
		must(t, c.SetReadDeadline(time.Time{}))
		_, err = s.Write([]byte("and back"))
		must(t, err)
		must(t, s.Close())
		if got, err := io.ReadAll(c); string(got) != "and back" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		c.Close()
	}
}

// TestFullBuffers writes until the buffers are full, and then until the reader
// has read.
func TestFullBuffers(t *testing.T) {
	c, s := pair(t, "tcp", "127.0.0.1:0")
	must(t, c.SetWriteDeadline(time.Now().Add(time.Second)))
	sent, err := c.Write(make([]byte, 8<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || sent == 0 || sent == 8<<20 {
		t.Fatalf("wrote %d bytes, %v", sent, err)
	}
	must(t, c.SetWriteDeadline(time.Time{}))
	go func() {
		c.Write(make([]byte, 8<<20-sent))
		c.Close()
	}()
	n, err := io.Copy(io.Discard, s)
	if n != 8<<20 || err != nil {
		t.Errorf("read %d bytes, %v", n, err)
	}
}

// TestResets closes a connection with unread bytes, and one without lingering.
func TestResets(t *testing.T) {
	c, s := pair(t, "tcp", "127.0.0.1:0")
	c.Write([]byte("unread"))
	time.Sleep(time.Second)
	s.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("a read after the other end dropped bytes: ", err)
	}
	c, s = pair(t, "tcp", "127.0.0.1:0")
	s.SetLinger(0)
	s.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("a read after a close without lingering: ", err)
	}
	c, s = pair(t, "tcp", "127.0.0.1:0")
	s.Close()
	for err := error(nil); err == nil; _, err = c.Write([]byte("nobody reads")) {
		time.Sleep(time.Millisecond)
	}
}

// TestDark dials an address that no machine has.
func TestDark(t *testing.T) {
	before := time.Now()
	_, err := net.Dial("tcp", "192.0.2.7:80")
	if !errors.Is(err, syscall.ETIMEDOUT) || time.Since(before) < time.Minute {
		t.Errorf("%v after %v", err, time.Since(before))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := new(net.Dialer).DialContext(ctx, "tcp", "192.0.2.7:80"); err == nil || !err.(net.Error).Timeout() {
		t.Error(err)
	}
}

// TestNames looks up names and addresses.
func TestNames(t *testing.T) {
	for _, name := range []string{"localhost", "sim", "nowhere.example"} {
		addrs, err := net.LookupHost(name)
		fmt.Println(name, addrs, err)
	}
	names, err := net.LookupAddr("127.0.0.1")
	fmt.Println(names, err)
	addrs, err := net.InterfaceAddrs()
	fmt.Println(addrs, err)
	host, err := os.Hostname()
	fmt.Println(host, err)
}

// TestUnix talks over Unix sockets.
func TestUnix(t *testing.T) {
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	must(t, err)
	if _, err := net.Listen("unix", path); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error("a second listener: ", err)
	}
	go func() {
		s, err := l.Accept()
		if err == nil {
			io.Copy(s, s)
			s.Close()
		}
	}()
	c, err := net.Dial("unix", path)
	must(t, err)
	fmt.Fprint(c, "hello")
	c.(*net.UnixConn).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "hello" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	l.Close()
	if _, err := net.Dial("unix", path); !errors.Is(err, syscall.ENOENT) {
		t.Error("a dial to a removed socket: ", err)
	}
}

// TestBrittle gives up at the first lost connection.
func TestBrittle(t *testing.T) {
	c, s := pair(t, "tcp", "127.0.0.1:0")
	go io.Copy(s, s)
	for range 200 {
		fmt.Fprint(c, "ping")
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			t.Fatal("the connection is lost")
		}
	}
}

// TestDatagrams counts what arrives, in order and once.
func TestDatagrams(t *testing.T) {
	a, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	b, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	for i := range 100 {
		fmt.Fprintln(writerTo{a, b.LocalAddr()}, i)
		time.Sleep(time.Millisecond)
	}
	b.SetReadDeadline(time.Now().Add(time.Second))
	got := 0
	for buf := make([]byte, 10); ; got++ {
		n, from, err := b.ReadFrom(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		must(t, err)
		if want := fmt.Sprintln(got); string(buf[:n]) != want || from.String() != a.LocalAddr().String() {
			t.Fatalf("datagram %d has %q from %v", got, buf[:n], from)
		}
	}
	if got != 100 {
		t.Fatal("datagrams are missing")
	}
}

type writerTo struct {
	c  net.PacketConn
	to net.Addr
}

func (w writerTo) Write(p []byte) (int, error) { return w.c.WriteTo(p, w.to) }
