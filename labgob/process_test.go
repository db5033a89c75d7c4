//go:build !wasip1

package labgob_test

import (
	"bytes"
	"encoding/gob"
	"os"
	"os/exec"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/labgob"
)

const childEnv = "RAFTLAB_LABGOB_CHILD"

// TestBytesOfAnotherProcess decodes the output of a second process, in which
// gob numbered the types differently. The readers are labgob and encoding/gob.
func TestBytesOfAnotherProcess(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		writeAll(t)
		return
	}
	here := encoded(t, Op{Key: "k"}) // gives Op a number before the other's bytes are seen
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(os.Args[0], "-test.run=^TestBytesOfAnotherProcess$")
	cmd.Env = append(os.Environ(), childEnv+"=1")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	require.NoError(t, cmd.Run(), "%s", &stderr)
	stream := stderr.Bytes()
	definition := here[:1+here[0]]
	require.False(t, bytes.Contains(stream, definition), "the other process gave the same numbers, so this test shows nothing")
	for name, dec := range map[string]decoder{
		"labgob": labgob.NewDecoder(bytes.NewReader(stream)),
		"gob":    gob.NewDecoder(bytes.NewReader(stream)),
	} {
		for _, want := range values() {
			got := reflect.New(reflect.TypeOf(want))
			require.NoError(t, dec.Decode(got.Interface()), name)
			require.Equal(t, want, got.Elem().Interface(), name)
		}
		var message []byte
		require.NoError(t, dec.Decode(&message))
		v, err := labgob.Unmarshal(message)
		require.NoError(t, err, name)
		require.Equal(t, Box{Op{Key: "marshaled"}}, v, name)
	}
}

// writeAll is the second process. The process first uses more types than all tests
// together, so that gob's numbers differ from those of the parent. The output is
// standard error, because the testing package writes nothing there.
func writeAll(t *testing.T) {
	for n := range 1000 {
		encoded(t, reflect.Zero(reflect.ArrayOf(n+1, reflect.TypeFor[int8]())).Interface())
	}
	enc := labgob.NewEncoder(os.Stderr)
	for _, v := range values() {
		require.NoError(t, enc.Encode(v))
	}
	require.NoError(t, enc.Encode(marshaled(t, Box{Op{Key: "marshaled"}})))
}
