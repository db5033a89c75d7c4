package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A control is a correct implementation of some labs. The tests must pass, in the
// control's own way.
type control struct {
	name string
	why  string // what is unusual, and right
	// source is the file of package raft, from the module's root. The empty name is the
	// plain Raft of mutants/student.
	source string
	edits  []edit // of the source
	// style is a directory of mutants/styles that replaces the project's packages. source
	// is then a file below that directory.
	style string
	in    string // directory of the replaced package; default raft
	tags  string // build tags
	pkg   string // default ./raft
	test  string // a regular expression; default 2A to 2D
	// notes are regular expressions, of which each must match one note of the run. No
	// other notes may occur.
	notes []string
	// nothing is true for an implementation that may pass no test at all.
	nothing bool
}

// allParts are the tests of lab 2.
const allParts = "2A|2B|2C|2D"

// pass returns the verdict for a run of the tests of the control.
func (c control) pass(dir string) (string, error) {
	overlay, err := c.plant(".", dir)
	if err != nil {
		return "", err
	}
	pkg, tests := c.tests()
	out, err := goTest(overlay, pkg, tests, "-v", "-timeout=30m", "-tags="+c.tags)
	switch failed := failure.FindStringSubmatch(out); {
	case unbuilt(out):
		return "", fmt.Errorf("DOES NOT BUILD:\n%s", out)
	case c.nothing:
		return passesNothing(out)
	case failed != nil:
		return "", fmt.Errorf("ACCUSED by %s%s\n%s", failed[1], failed[2], out)
	case err != nil:
		return "", fmt.Errorf("go test: %w\n%s", err, out)
	}
	if err := c.checkNotes(out); err != nil {
		return "", err
	}
	return fmt.Sprintf("passes %s %s, %d skipped, %d note(s)", pkg, tests, len(skipped.FindAllString(out, -1)), len(c.notes)), nil
}

func (c control) tests() (pkg, tests string) {
	pkg, tests = c.pkg, c.test
	if pkg == "" {
		pkg = "./raft"
	}
	if tests == "" {
		tests = allParts
	}
	return pkg, tests
}

var (
	passed  = regexp.MustCompile(`(?m)^ *--- PASS: (\S+)`)
	skipped = regexp.MustCompile(`(?m)^ *--- SKIP: (\S+)`)
	noted   = regexp.MustCompile(`(?m)^ *\S+\.go:\d+: note: (.*)$`)
)

// passesNothing is the verdict for an implementation that has nothing of the lab.
func passesNothing(out string) (string, error) {
	if found := passed.FindStringSubmatch(out); found != nil {
		return "", fmt.Errorf("PASSES %s with nothing implemented", found[1])
	}
	return fmt.Sprintf("passes nothing, %d skipped", len(skipped.FindAllString(out, -1))), nil
}

// checkNotes compares the notes of a run with the expected ones.
func (c control) checkNotes(out string) error {
	if slices.Equal(c.notes, anyNotes) {
		return nil
	}
	var found []string
	for _, m := range noted.FindAllStringSubmatch(out, -1) {
		found = append(found, m[1])
	}
	for _, want := range c.notes {
		re := regexp.MustCompile(want)
		i := slices.IndexFunc(found, re.MatchString)
		if i < 0 {
			return fmt.Errorf("NO NOTE matches %q", want)
		}
		found = slices.Delete(found, i, i+1)
	}
	if len(found) > 0 {
		return fmt.Errorf("NOTED: %s", strings.Join(found, "; "))
	}
	return nil
}

// plant writes the control's package into dir, and returns an overlay of the module at
// root with that package in the place of the replaced one.
func (c control) plant(root, dir string) (overlay string, err error) {
	if c.style != "" {
		home := filepath.Join(root, filepath.FromSlash(stylesDir), c.style)
		impl, err := readStyle(home)
		if err != nil {
			return "", err
		}
		return impl.plantEdits(root, home, dir, mistake{file: c.source, edits: c.edits})
	}
	source := c.source
	if source == "" {
		source = student
	}
	data, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(source)))
	if err != nil {
		return "", err
	}
	text, err := applyEdits(string(data), c.edits)
	if err != nil {
		return "", fmt.Errorf("%w of %s", err, source)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	name := filepath.Base(source)
	planted, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(planted, []byte(text), 0o644); err != nil {
		return "", err
	}
	replace, err := inPlaceOf(root, cmp.Or(c.in, "raft"), map[string]string{name: planted})
	if err != nil {
		return "", err
	}
	return writeOverlay(dir, replace)
}

// applyEdits replaces each old text, which occurs exactly once, or everywhere for an
// edit that says so.
func applyEdits(text string, edits []edit) (string, error) {
	for _, e := range edits {
		n := strings.Count(text, e.old)
		if n == 0 || n > 1 && !e.all {
			return "", fmt.Errorf("DOES NOT APPLY: the text to replace, %.60q, occurs %d times", e.old, n)
		}
		text = strings.ReplaceAll(text, e.old, e.new)
	}
	return text, nil
}
