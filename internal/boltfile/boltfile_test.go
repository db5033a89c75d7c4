package boltfile_test

import (
	"bytes"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"raftlab/internal/boltfile"
)

// content is the items of each bucket.
type content map[string][][2]string

func (c content) buckets() (all []boltfile.Bucket) {
	for name, items := range c {
		all = append(all, boltfile.Bucket{Name: name, Items: seq(items)})
	}
	return all
}

func seq(items [][2]string) iter.Seq2[[]byte, []byte] {
	return func(yield func(k, v []byte) bool) {
		for _, item := range items {
			if !yield([]byte(item[0]), []byte(item[1])) {
				return
			}
		}
	}
}

// numbered returns n items whose values have a size.
func numbered(n, size int) (items [][2]string) {
	for i := range n {
		items = append(items, [2]string{fmt.Sprintf("key %06d", i), string(bytes.Repeat([]byte{byte(i)}, size))})
	}
	return items
}

func write(t *testing.T, c content) []byte {
	t.Helper()
	f, err := boltfile.Layout(c.buckets()...)
	require.NoError(t, err)
	var out bytes.Buffer
	n, err := f.WriteTo(&out)
	require.NoError(t, err)
	require.EqualValues(t, out.Len(), n)
	require.EqualValues(t, out.Len(), f.Size())
	return out.Bytes()
}

func read(file []byte) (content, error) {
	c := content{}
	err := boltfile.Read(bytes.NewReader(file), int64(len(file)), func(bucket string, key, value []byte) error {
		c[bucket] = append(c[bucket], [2]string{string(key), string(value)})
		return nil
	})
	return c, err
}

var contents = map[string]content{
	"no bucket":     {},
	"small":         {"a": {{"k", "v"}, {"l", ""}}, "b": {{"k", "w"}}},
	"empty buckets": {"a": nil, "c": nil, "b": {{"x", "y"}}},
	"one level":     {"keys": numbered(1000, 100)},
	"two levels":    {"keys": numbered(40_000, 100), "other": numbered(3, 3)},
	"large values":  {"keys": numbered(30, 50_000), "one": numbered(1, 1<<20)},
	"large keys":    {"keys": {{string(bytes.Repeat([]byte("a"), 30_000)), "1"}, {string(bytes.Repeat([]byte("b"), 30_000)), "2"}, {string(bytes.Repeat([]byte("c"), 30_000)), "3"}}},
}

// Bbolt finds no fault in a file of the writer, and reads what was written.
func TestBboltReads(t *testing.T) {
	for name, want := range contents {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			require.NoError(t, os.WriteFile(path, write(t, want), 0o600))
			db, err := bbolt.Open(path, 0o600, nil)
			require.NoError(t, err)
			defer db.Close()
			require.NoError(t, db.View(func(tx *bbolt.Tx) error {
				for err := range tx.Check() {
					require.NoError(t, err)
				}
				found := 0
				require.NoError(t, tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
					found++
					var items [][2]string
					require.NoError(t, b.ForEach(func(k, v []byte) error {
						items = append(items, [2]string{string(k), string(v)})
						return nil
					}))
					require.Equal(t, want[string(name)], items)
					return nil
				}))
				require.Len(t, want, found)
				return nil
			}))
			require.NoError(t, db.Update(func(tx *bbolt.Tx) error { // the file takes writes
				b, err := tx.CreateBucketIfNotExists([]byte("a"))
				require.NoError(t, err)
				return b.Put([]byte("new"), []byte("value"))
			}))
		})
	}
}

// The reader reads what the writer has written, and what bbolt has written in many
// transactions.
func TestRead(t *testing.T) {
	for name, want := range contents {
		t.Run(name, func(t *testing.T) {
			filled := content{}
			for bucket, items := range want {
				if len(items) > 0 { // the reader passes items alone
					filled[bucket] = items
				}
			}
			got, err := read(write(t, want))
			require.NoError(t, err)
			require.Equal(t, filled, got)

			path := filepath.Join(t.TempDir(), "db")
			db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true})
			require.NoError(t, err)
			for bucket, items := range want {
				for i := 0; i == 0 || i < len(items); i += 10_000 {
					require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
						b, err := tx.CreateBucketIfNotExists([]byte(bucket))
						require.NoError(t, err)
						for _, item := range items[i:min(i+10_000, len(items))] {
							require.NoError(t, b.Put([]byte(item[0]), []byte(item[1])))
						}
						return nil
					}))
				}
			}
			require.NoError(t, db.Close())
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			got, err = read(file)
			require.NoError(t, err)
			require.Equal(t, filled, got)
		})
	}
}

func TestOrder(t *testing.T) {
	for _, items := range [][][2]string{{{"b", ""}, {"a", ""}}, {{"a", ""}, {"a", ""}}, {{"", "x"}}} {
		_, err := boltfile.Layout(boltfile.Bucket{Name: "x", Items: seq(items)})
		require.Error(t, err, "%q", items)
	}
}

// A file that is cut anywhere, or whose page is another one, is damaged.
func TestDamage(t *testing.T) {
	file := write(t, contents["one level"])
	for size := 0; size < len(file); size += 777 {
		_, err := read(file[:size])
		require.ErrorIs(t, err, boltfile.ErrDamaged, "%d bytes", size)
	}
	const page = 4096
	for i := 3 * page; i+page < len(file); i += page {
		swapped := bytes.Clone(file)
		copy(swapped[i:], file[i+page:i+2*page])
		_, err := read(swapped)
		require.ErrorIs(t, err, boltfile.ErrDamaged, "page %d", i/page)
		require.ErrorContains(t, err, fmt.Sprintf("page %d calls itself page %d", i/page, i/page+1))
	}
	again := bytes.Replace(file, []byte("key 000007"), []byte("key 000006"), 1)
	_, err := read(again)
	require.ErrorIs(t, err, boltfile.ErrDamaged, "a key stands twice")
	for _, both := range []bool{false, true} { // one whole description suffices
		broken := bytes.Clone(file)
		broken[page+20]++
		if both {
			broken[20]++
		}
		_, err := read(broken)
		require.Equal(t, both, err != nil, "%v", err)
	}
}

// No file brings the reader down.
func FuzzRead(f *testing.F) {
	for _, name := range []string{"small", "empty buckets"} {
		layout, err := boltfile.Layout(contents[name].buckets()...)
		require.NoError(f, err)
		var out bytes.Buffer
		_, err = layout.WriteTo(&out)
		require.NoError(f, err)
		f.Add(out.Bytes())
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		_, _ = read(file)
	})
}
