package abd_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftlab/labrpc"
	"raftlab/porcupine"
	"raftlab/porcupine/models"
	"raftlab/protocols/abd"
	"raftlab/protocols/harness"
)

func start(c *harness.Cluster) {
	for i := range c.Size() {
		c.Serve(i, &abd.Replica{})
	}
}

// work lets clients read and write at once under faults, and returns the history.
func work(c *harness.Cluster, noWriteBack bool) []porcupine.Operation {
	const clients, operations = 4, 25
	var mu sync.Mutex
	var history []porcupine.Operation
	var wg sync.WaitGroup
	begin := time.Now()
	for id := range clients {
		client := abd.NewClient(c.Client(fmt.Sprint("client ", id)), id)
		client.NoWriteBack = noWriteBack
		choose := rand.New(rand.NewPCG(uint64(c.Net.Seed()), uint64(id)))
		wg.Go(func() {
			for n := range operations {
				op := porcupine.Operation{ClientId: id, Call: int64(time.Since(begin))}
				var ok bool
				if id == 0 { // one writer, so that old values stay recognizable
					value := fmt.Sprint(n)
					op.Input = models.RegisterInput{Op: models.RegisterWrite, Value: value}
					op.Output = models.RegisterOutput{}
					ok = client.Write(value)
				} else {
					op.Input = models.RegisterInput{Op: models.RegisterRead}
					var value string
					if value, ok = client.Read(); value != "" {
						op.Output = models.RegisterOutput{Value: value}
					} else {
						op.Output = models.RegisterOutput{}
					}
				}
				op.Return = int64(time.Since(begin))
				if !ok {
					op.Return = porcupine.Pending
				}
				if ok || id == 0 {
					mu.Lock()
					history = append(history, op)
					mu.Unlock()
				}
				time.Sleep(time.Duration(choose.IntN(20)) * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return history
}

// The register is linearizable under loss, delay and duplicates, with a minority of nodes
// crashed halfway.
func TestLinearizable(t *testing.T) {
	harness.Run(t, 5, func(t *testing.T, c *harness.Cluster) {
		start(c)
		c.SetFaults(harness.Lossy)
		crash := time.AfterFunc(500*time.Millisecond, func() { c.Net.DeleteServer(0); c.Net.DeleteServer(1) })
		defer crash.Stop()
		history := work(c, false)
		require.Greater(t, len(history), 90)
		require.True(t, porcupine.CheckOperations(models.Register, history))
	})
}

// Without the write-back, a new value appears and disappears again. Node 0 alone has the
// value of a write on its way. The first read hears node 0, and the second does not.
func TestReadsMustWrite(t *testing.T) {
	for _, noWriteBack := range []bool{false, true} {
		harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
			start(c)
			writer, first, second := c.Client("writer"), c.Client("first"), c.Client("second")
			require.True(t, abd.NewClient(writer, 1).Write("old"))
			require.True(t, writer[0].Call("Replica.Store", abd.Version{Tag: abd.Tag{Number: 2, Client: 1}, Value: "new"}, new(bool)))

			c.Crash(2) // the first reader meets nodes 0 and 1
			reader := abd.NewClient(first, 2)
			reader.NoWriteBack = noWriteBack
			value, ok := reader.Read()
			require.True(t, ok)
			require.Equal(t, "new", value)

			c.Net.SetScheduler(func(m labrpc.Message) labrpc.Decision {
				if m.Server == 0 {
					return labrpc.Never()
				}
				return labrpc.Now()
			})
			old := &abd.Replica{}
			old.Store(abd.Version{Tag: abd.Tag{Number: 1, Client: 1}, Value: "old"}, new(bool))
			c.Serve(2, old) // node 2 is back, and has what it had
			value, ok = abd.NewClient(second, 3).Read()
			require.True(t, ok)
			require.Equal(t, map[bool]string{false: "new", true: "old"}[noWriteBack], value)
		})
	}
}

// Without a majority there is no answer.
func TestNoMajority(t *testing.T) {
	harness.Run(t, 3, func(t *testing.T, c *harness.Cluster) {
		start(c)
		c.Crash(0)
		c.Crash(1)
		client := abd.NewClient(c.Client("client"), 1)
		require.False(t, client.Write("x"))
		_, ok := client.Read()
		require.False(t, ok)
	})
}
