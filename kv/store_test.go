package kv_test

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftlab/internal/testkit"
	"raftlab/kv"
)

func TestOperations(t *testing.T) {
	s := kv.NewStore(kv.Limits{Key: 5, Value: 8})
	ok := func(version uint64) kv.Result { return kv.Result{Version: version} }
	steps := []struct {
		op   kv.Op
		want kv.Result
	}{
		{kv.Get("k"), kv.Result{Code: kv.NotFound}},
		{kv.Delete("k"), kv.Result{Code: kv.NotFound}},
		{kv.Put("k", "a"), ok(1)},
		{kv.Get("k"), kv.Result{Value: "a", Version: 1}},
		{kv.Append("k", "b"), ok(2)},
		{kv.Append("new", "c"), ok(3)},
		{kv.Get("k"), kv.Result{Value: "ab", Version: 2}},
		{kv.Put("k", "x").IfVersion(1), kv.Result{Code: kv.VersionMismatch, Version: 2}},
		{kv.Put("k", "x").IfVersion(0), kv.Result{Code: kv.VersionMismatch, Version: 2}},
		{kv.Put("k", "x").IfVersion(2), ok(4)},
		{kv.Put("none", "x").IfVersion(7), kv.Result{Code: kv.VersionMismatch}},
		{kv.Put("none", "x").IfVersion(0), ok(5)},
		{kv.Append("none", "y").IfVersion(5), ok(6)},
		{kv.Delete("none").IfVersion(5), kv.Result{Code: kv.VersionMismatch, Version: 6}},
		{kv.Delete("none").IfVersion(6), kv.Result{}},
		{kv.Delete("none").IfVersion(6), kv.Result{Code: kv.VersionMismatch}},
		{kv.Delete("none").IfVersion(0), kv.Result{Code: kv.NotFound}},
		{kv.Put("none", "z"), ok(8)}, // 7 was the delete's
		{kv.Put("longer", ""), kv.Result{Code: kv.TooLarge}},
		{kv.Put("k", "123456789"), kv.Result{Code: kv.TooLarge}},
		{kv.Append("k", "12345678"), kv.Result{Code: kv.TooLarge}},
		{kv.Get("longer"), kv.Result{Code: kv.NotFound}},
		{kv.Get("k"), kv.Result{Value: "x", Version: 4}},
		{kv.Append("k", "1234567"), ok(9)},
		{kv.Op{Kind: 99, Key: "k"}, kv.Result{Code: kv.Invalid}},
		{kv.Put("", ""), ok(10)},
		{kv.Get(""), kv.Result{Version: 10}},
	}
	for i, step := range steps {
		before := encoded(t, s)
		if got := s.Apply(step.op); !reflect.DeepEqual(got, step.want) {
			t.Fatalf("step %d: %v of %q: %+v, want %+v", i+1, step.op.Kind, step.op.Key, got, step.want)
		}
		if (step.want.Code != kv.OK || step.op.ReadOnly()) && !bytes.Equal(before, encoded(t, s)) {
			t.Fatalf("step %d: %v of %q changed the store", i+1, step.op.Kind, step.op.Key)
		}
	}
}

func TestScan(t *testing.T) {
	s := kv.NewStore(kv.Limits{})
	for _, key := range []string{"b", "a", "d", "c", "ab"} {
		s.Apply(kv.Put(key, key+key))
	}
	cases := []struct {
		start, end string
		limit      int
		want       string
		more       bool
	}{
		{"", "", 0, "a ab b c d", false},
		{"", "", -1, "a ab b c d", false},
		{"ab", "d", 0, "ab b c", false},
		{"aa", "", 2, "ab b", true},
		{"", "", 5, "a ab b c d", false},
		{"", "c", 3, "a ab b", false},
		{"x", "", 0, "", false},
		{"c", "b", 0, "", false},
	}
	for _, c := range cases {
		r := s.Apply(kv.Scan(c.start, c.end, c.limit))
		var keys []string
		for _, p := range r.Pairs {
			keys = append(keys, p.Key)
			if p.Value != p.Key+p.Key || p.Version == 0 {
				t.Errorf("pair %+v", p)
			}
		}
		if got := strings.Join(keys, " "); got != c.want || r.More != c.more || r.Code != kv.OK {
			t.Errorf("Scan(%q, %q, %d): %q, more %v, %v; want %q, more %v", c.start, c.end, c.limit, got, r.More, r.Code, c.want, c.more)
		}
	}
}

func TestScanIsBounded(t *testing.T) {
	s := filled(kv.MaxScan + 1)
	for _, limit := range []int{0, kv.MaxScan, kv.MaxScan + 1, math.MaxInt} {
		if r := s.Apply(kv.Scan("", "", limit)); len(r.Pairs) != kv.MaxScan || !r.More {
			t.Errorf("limit %d: %d pairs, more %v", limit, len(r.Pairs), r.More)
		}
	}
	s = kv.NewStore(kv.Limits{})
	for _, key := range []string{"a", "b", "c"} {
		s.Apply(kv.Put(key, strings.Repeat("x", kv.MaxScanBytes*2/3)))
	}
	if r := s.Apply(kv.Scan("", "", 0)); len(r.Pairs) != 1 || !r.More {
		t.Errorf("of large values: %d pairs, more %v", len(r.Pairs), r.More)
	}
	s.Apply(kv.Append("a", strings.Repeat("x", kv.MaxScanBytes)))
	if r := s.Apply(kv.Scan("", "", 0)); len(r.Pairs) != 1 || !r.More {
		t.Errorf("of a value above the bound: %d pairs, more %v", len(r.Pairs), r.More)
	}
}

// A store is a map with versions, whatever is saved and restored in between.
func TestStoreAgainstAMap(t *testing.T) {
	rng := testkit.Rand(t)
	s := kv.NewStore(kv.Limits{})
	values, versions := map[string]string{}, map[string]uint64{}
	var last uint64
	for i := range 20_000 {
		key, value := fmt.Sprint(rng.IntN(700)), fmt.Sprint(i)
		op := []kv.Op{kv.Get(key), kv.Put(key, value), kv.Append(key, value), kv.Delete(key)}[rng.IntN(4)]
		if rng.IntN(3) == 0 && !op.ReadOnly() {
			op = op.IfVersion(versions[key] + uint64(rng.IntN(2)))
		}
		old, found := values[key]
		want := kv.Result{}
		switch {
		case op.Conditional && op.Version != versions[key]:
			want = kv.Result{Code: kv.VersionMismatch, Version: versions[key]}
		case !found && (op.Kind == kv.KindGet || op.Kind == kv.KindDelete):
			want = kv.Result{Code: kv.NotFound}
		case op.Kind == kv.KindGet:
			want = kv.Result{Value: old, Version: versions[key]}
		case op.Kind == kv.KindDelete:
			delete(values, key)
			delete(versions, key)
			last++
		default:
			if op.Kind == kv.KindAppend {
				value = old + value
			}
			last++
			values[key], versions[key] = value, last
			want = kv.Result{Version: last}
		}
		if got := s.Apply(op); !reflect.DeepEqual(got, want) || s.Len() != len(values) {
			t.Fatalf("operation %d, %+v: %+v with %d keys, want %+v with %d", i, op, got, s.Len(), want, len(values))
		}
		if rng.IntN(200) == 0 {
			image := encoded(t, s)
			s = kv.NewStore(kv.Limits{})
			require.NoError(t, s.Restore(image))
		}
	}
}

// widest is a writer that remembers the largest write.
type widest struct {
	bytes.Buffer
	most int
}

func (w *widest) Write(p []byte) (int, error) {
	w.most = max(w.most, len(p))
	return w.Buffer.Write(p)
}

// A snapshot of large values is encoded a few at a time.
func TestSnapshotIsWrittenInSmallParts(t *testing.T) {
	s := kv.NewStore(kv.Limits{})
	for i := range 50 {
		s.Apply(kv.Put(fmt.Sprint(i), strings.Repeat("v", 100_000)))
	}
	var w widest
	require.NoError(t, s.Snapshot()(&w))
	require.Less(t, w.most, 500_000, "bytes in one write")
	restored := kv.NewStore(kv.Limits{})
	require.NoError(t, restored.Restore(w.Bytes()))
	require.Equal(t, 50, restored.Len())
}

func TestSnapshotIsOfItsMoment(t *testing.T) {
	s := filled(1000)
	before := encoded(t, s)
	var later bytes.Buffer
	write := s.Snapshot()
	for i := range 1000 {
		s.Apply(kv.Put(fmt.Sprintf("key-%08d", i), "changed"))
		s.Apply(kv.Delete(fmt.Sprintf("key-%08d", i/2)))
	}
	if err := write(&later); err != nil || !bytes.Equal(before, later.Bytes()) {
		t.Fatalf("the snapshot has changed with the store, %v", err)
	}
}

func TestRestoreRefuses(t *testing.T) {
	image := encoded(t, filled(300))
	empty := encoded(t, filled(0))
	bad := map[string][]byte{
		"cut":                 image[:len(image)-1],
		"cut after the head":  image[:4],
		"longer":              append(slices.Clone(image), 0),
		"another format":      append([]byte{0x93, 2}, empty[2:]...),
		"fewer than it says":  {0x93, 1, 1, 2, 0x91, 0x93, 0xa1, 'a', 0xa1, 'x', 1},
		"more than it says":   {0x93, 1, 2, 1, 0x92, 0x93, 0xa1, 'a', 0xa1, 'x', 1, 0x93, 0xa1, 'b', 0xa1, 'x', 2},
		"a key twice":         {0x93, 1, 2, 2, 0x92, 0x93, 0xa1, 'a', 0xa1, 'x', 1, 0x93, 0xa1, 'a', 0xa1, 'x', 2},
		"a version to come":   {0x93, 1, 1, 1, 0x91, 0x93, 0xa1, 'a', 0xa1, 'x', 2},
		"an empty batch":      {0x93, 1, 1, 1, 0x90},
		"a huge batch":        {0x93, 1, 1, 0xce, 0xff, 0xff, 0xff, 0xff, 0xdd, 0xff, 0xff, 0xff, 0xff},
		"a huge string":       {0x93, 1, 1, 1, 0x91, 0x93, 0xdb, 0xff, 0xff, 0xff, 0xff},
		"a number of pairs<0": {0x93, 1, 1, 0xff},
		"not a store":         []byte("hello"),
	}
	for name, data := range bad {
		s := filled(3)
		before := encoded(t, s)
		if err := s.Restore(data); err == nil {
			t.Errorf("%s: Restore took it", name)
		}
		if !bytes.Equal(before, encoded(t, s)) {
			t.Errorf("%s: the store has changed", name)
		}
	}
	s := filled(3)
	if err := s.Restore(nil); err != nil || s.Len() != 0 {
		t.Errorf("Restore(nil): %v, %d keys", err, s.Len())
	}
}

// allocated returns how many bytes this process has allocated up to now.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// FuzzRestore: hostile bytes give an error, and what is taken is a store.
func FuzzRestore(f *testing.F) {
	f.Add(encoded(f, filled(0)))
	f.Add(encoded(f, filled(3)))
	f.Add(encoded(f, filled(600)))
	f.Add([]byte{0x93, 1, 1, 0xce, 0xff, 0xff, 0xff, 0xff, 0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := kv.NewStore(kv.Limits{})
		before := allocated()
		err := s.Restore(data)
		if got, most := allocated()-before, uint64(1<<20+100*len(data)); got > most {
			t.Fatalf("Restore of %d bytes allocated %d bytes, want at most %d", len(data), got, most)
		}
		if err != nil || len(data) == 0 {
			return
		}
		again := kv.NewStore(kv.Limits{})
		if err := again.Restore(encoded(t, s)); err != nil || again.Len() != s.Len() {
			t.Fatalf("what was restored is not read again: %v", err)
		}
	})
}

func ExampleStore() {
	s := kv.NewStore(kv.Limits{})
	r := s.Apply(kv.Put("k", "1"))
	fmt.Println(r.Code, r.Version)
	r = s.Apply(kv.Put("k", "2").IfVersion(r.Version))
	fmt.Println(r.Code, r.Version)
	r = s.Apply(kv.Put("k", "3").IfVersion(1))
	fmt.Println(r.Code, r.Version)
	r = s.Apply(kv.Get("k"))
	fmt.Println(r.Value)
	// Output:
	// ok 1
	// ok 2
	// version mismatch 2
	// 2
}
