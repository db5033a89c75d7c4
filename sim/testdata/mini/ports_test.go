//go:build !wasip1

package mini

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
)

// TestFixedPort listens on a port of its own choice.
func TestFixedPort(t *testing.T) {
	const address = "127.0.0.1:18471"
	for range 2 {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := net.Listen("tcp", address); !errors.Is(err, syscall.EADDRINUSE) {
			t.Error("a second listener on one port: ", err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				fmt.Fprintln(c, "from the test")
				c.Close()
			}
		}()
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(c)
		fmt.Printf("%v says %q, %v\n", c.RemoteAddr(), text, err)
		c.Close()
		l.Close()
	}
}

// TestPorts prints every port that a program can see. Both ends of each
// connection must agree on the numbers.
func TestPorts(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	talk := func(l net.Listener) {
		t.Helper()
		accepted := make(chan net.Conn, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				fmt.Fprintln(c, "hello")
			}
			accepted <- c
		}()
		c, err := net.Dial(l.Addr().Network(), l.Addr().String())
		must(err)
		defer c.Close()
		_, err = io.ReadFull(c, make([]byte, 6))
		must(err)
		s := <-accepted
		defer s.Close()
		fmt.Println(l.Addr(), c.LocalAddr(), c.RemoteAddr(), s.LocalAddr(), s.RemoteAddr())
		if c.LocalAddr().String() != s.RemoteAddr().String() || c.RemoteAddr().String() != s.LocalAddr().String() {
			t.Error("the two ends do not agree")
		}
	}

	first, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	second, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer second.Close()
	talk(first)
	talk(second)
	talk(second)

	if _, err := net.Listen("tcp", first.Addr().String()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Error("a second listener on one port: ", err)
	}
	first.Close()
	if _, err := net.Dial("tcp", first.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error("a dial to a closed port: ", err)
	}
	again, err := net.Listen("tcp", first.Addr().String())
	must(err)
	defer again.Close()
	if again.Addr().String() != first.Addr().String() {
		t.Errorf("asked for %v, got %v", first.Addr(), again.Addr())
	}
	talk(again)

	if six, err := net.Listen("tcp", "[::1]:0"); err == nil {
		talk(six)
		six.Close()
	}
	any, err := net.Listen("tcp", ":0")
	must(err)
	defer any.Close()
	fmt.Println(any.Addr())

	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	go func() {
		if c, err := second.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := dialer.Dial("tcp", second.Addr().String())
	must(err)
	defer c.Close()
	fmt.Println("dialed from", c.LocalAddr())

	a, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	defer a.Close()
	b, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	defer b.Close()
	_, err = a.WriteTo([]byte("ping"), b.LocalAddr())
	must(err)
	buf := make([]byte, 10)
	n, from, err := b.ReadFrom(buf)
	must(err)
	fmt.Printf("%v got %s from %v\n", b.LocalAddr(), buf[:n], from)
	if from.String() != a.LocalAddr().String() {
		t.Errorf("sent from %v", a.LocalAddr())
	}
	n, _, _, udp, err := func() (int, int, int, *net.UDPAddr, error) {
		d, err := net.Dial("udp", b.LocalAddr().String())
		must(err)
		defer d.Close()
		fmt.Fprint(d, "pong")
		return b.(*net.UDPConn).ReadMsgUDP(buf, nil)
	}()
	must(err)
	fmt.Printf("%s from %v\n", buf[:n], udp)
}
