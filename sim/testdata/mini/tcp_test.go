//go:build !wasip1

package mini

import (
	"fmt"
	"io"
	"net"
	"os/exec"
	"testing"
	"time"
)

// TestTCP talks to itself over the loopback interface.
func TestTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go io.Copy(c, c)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 100 {
		fmt.Fprintf(c, "ping %04d\n", i)
		if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestOutside waits for what only the real world could give.
func TestOutside(t *testing.T) {
	exec.Command("sleep", "3600").Run()
}
