package sim

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

var pointerRE = regexp.MustCompile(`\b0x[0-9a-f]+\b`)

// sameRun reports whether two runs took the same steps and ended alike, whatever
// they wrote.
func sameRun(a, b Outcome) bool {
	return a.Signature() == b.Signature() && a.Schedules == b.Schedules && a.Points == b.Points && a.Virtual == b.Virtual
}

// whyDifferent names what makes the output of two runs of a case differ: an
// address in the output, or files outside of the world that changed since began.
// The result is "" if neither is the cause.
func whyDifferent(ctx context.Context, p Program, c Case, began time.Time, a, b Outcome) (string, error) {
	if sameRun(a, b) && !bytes.Equal(a.Output, b.Output) && bytes.Equal(pointerRE.ReplaceAll(a.Output, nil), pointerRE.ReplaceAll(b.Output, nil)) {
		return "an address: " + firstDifference(a.Output, b.Output), nil
	}
	native, ok := p.(*nativeProgram)
	if !ok {
		return "", nil
	}
	out, err := Record(ctx, p, c)
	if err != nil {
		return "", err
	}
	var changed []string
	for _, e := range out.Events {
		path := e.What
		if e.Kind != Opens || path == "" {
			continue
		}
		if !filepath.IsAbs(path) {
			path = filepath.Join(native.pkg.Dir, path)
		}
		info, err := os.Stat(path)
		if err == nil && info.Mode().IsRegular() && !changeTime(info).Before(began.Truncate(time.Second)) && !slices.Contains(changed, path) {
			changed = append(changed, path)
		}
	}
	if len(changed) == 0 {
		return "", nil
	}
	return fmt.Sprintf("the content of %s, which changes between the runs: %s", strings.Join(changed, ", "), firstDifference(a.Output, b.Output)), nil
}

// firstDifference shows the first line that differs, as both runs wrote it.
func firstDifference(a, b []byte) string {
	left, right := strings.Split(string(a), "\n"), strings.Split(string(b), "\n")
	for i := range min(len(left), len(right)) {
		if left[i] != right[i] {
			return fmt.Sprintf("%q, then %q", trimLine([]byte(left[i])), trimLine([]byte(right[i])))
		}
	}
	return "one output goes on where the other one ends"
}
