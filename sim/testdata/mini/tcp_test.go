//go:build !wasip1

package mini

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"os"
	"os/exec"
	"strings"
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

// TestSubprocess runs the test binary again, as tests of crashes do.
func TestSubprocess(t *testing.T) {
	if os.Getenv("INNER") != "" {
		fmt.Println("inside", rand.Int())
		os.Exit(7)
	}
	for _, name := range []string{os.Args[0], executable(t)} {
		cmd := exec.Command(name, "-test.run=^TestSubprocess$")
		cmd.Env = append(os.Environ(), "INNER=1")
		out, err := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 7 || !strings.HasPrefix(string(out), "inside ") {
			t.Errorf("%s: code %d, error %v, output %s", name, code, err, out)
		}
		fmt.Printf("%s", out)
	}
}

// TestSubprocessReads waits for subprocesses that read and write more than a pipe holds.
func TestSubprocessReads(t *testing.T) {
	in := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for range 3 {
		cmd := exec.Command("cat")
		w, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		cmd.Stdout = &out
		written := make(chan error, 1)
		go func() {
			_, err := w.Write(in)
			written <- errors.Join(err, w.Close())
		}()
		start := time.Now()
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if err := <-written; err != nil {
			t.Error(err)
		}
		if !bytes.Equal(out.Bytes(), in) {
			t.Errorf("%d bytes of output for %d of input", out.Len(), len(in))
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("%v have passed in the world", d)
		}
		fmt.Println(time.Now())
	}
}

func executable(t *testing.T) string {
	name, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// TestOutside waits for what only the real world could give.
func TestOutside(t *testing.T) {
	exec.Command("sleep", "3600").Run()
}
