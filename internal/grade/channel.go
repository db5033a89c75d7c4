package grade

import (
	"errors"
	"io"
	"os"
	"syscall"

	"raftlab/internal/verdict"
)

// A channel is the grader's end of a verdict channel.
type channel struct {
	key          []byte
	ours, theirs *os.File
	message      chan message // what the process has sent, at its end
}

type message struct {
	data []byte
	err  error
}

func newChannel() (*channel, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	c := &channel{key: verdict.NewKey(), ours: ours, theirs: theirs, message: make(chan message, 1)}
	if _, err = c.ours.Write(c.key); err != nil {
		c.close()
		return nil, err
	}
	// The reader ends when all ends of the other side are closed, or with close.
	go func() {
		data, err := io.ReadAll(io.LimitReader(c.ours, verdict.MaxMessage+1))
		c.message <- message{data, err}
	}()
	return c, nil
}

func (c *channel) close() {
	c.ours.Close()
	c.theirs.Close()
}

// result reads the message of a process that has ended. No message is no error.
func (c *channel) result() (*verdict.Result, error) {
	c.theirs.Close()
	got := <-c.message
	// A process that has not read the secret resets the connection.
	if len(got.data) == 0 || errors.Is(got.err, syscall.ECONNRESET) {
		return nil, nil
	}
	if got.err != nil {
		return nil, got.err
	}
	r, err := verdict.Open(c.key, got.data)
	if err != nil {
		return nil, err
	}
	return &r, nil
}
