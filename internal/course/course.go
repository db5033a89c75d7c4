// Package course makes the files of a course from this project's sources: a handout for
// students, with skeletons, lab texts and tests, and the instructor's part.
//
// The skeletons are the plain implementation of mutants/student without the parts between
// markers, so the skeletons and the solution cannot drift apart. The tests are the suites.
// A handout is a module without dependencies.
//
// Each student of a class can get a handout of its own. Names, numbers and orders in the
// skeletons differ between students (marks), and [Check] compares submissions with the
// handouts of all students.
package course

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"raftlab/internal/grade"
)

// module is the path of this project's module, and student the directory of the plain
// implementation.
const (
	module  = "raftlab"
	student = "mutants/student"
)

// ErrCourse is returned for wrong options, and for a directory that is not a course's or
// not empty.
var ErrCourse = errors.New("course: wrong input")

func bad(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrCourse, fmt.Errorf(format, args...))
}

// Limits of a course.
const (
	maxStudents = 5000
	maxName     = 100 // bytes
)

// Options describe a new course.
type Options struct {
	Class    string   // name of the class
	Edition  string   // of the labs; "" is the default
	Module   string   // path of the handout's module; "" is "labs"
	Parts    []string // parts of the labs; none means all
	Students []string // each gets a handout of its own
	// HoldBack matches tests that the handout lacks. The instructor's table has them.
	HoldBack *regexp.Regexp
}

// config is the instructor's file course.yaml.
type config struct {
	Class    string   `yaml:"class"`
	Edition  string   `yaml:"edition,omitempty"`
	Module   string   `yaml:"module"`
	Parts    []string `yaml:"parts"`
	HoldBack string   `yaml:"hold_back,omitempty"`
	// Secret decides the marks of the students.
	Secret   string   `yaml:"secret"`
	Students []string `yaml:"students"`

	hold *regexp.Regexp
	same map[string][]byte // the files that are the same in all handouts
}

const configName = "instructor/course.yaml"

var partNames = grade.Parts()

var (
	modulePath  = regexp.MustCompile(`^[a-z0-9][a-z0-9._~-]*(/[A-Za-z0-9._~-]+)*$`)
	studentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]*$`)
)

func (o Options) config() (*config, error) {
	c := &config{Class: o.Class, Edition: o.Edition, Module: o.Module, Parts: o.Parts, Students: o.Students, hold: o.HoldBack}
	parts, err := grade.PartsOf(o.Edition)
	if err != nil {
		return nil, err
	}
	if !c.hasHandout() && (o.Module != "" || len(o.Students) > 0 || o.HoldBack != nil) {
		return nil, bad("the handout of edition %s is the course's own, so a module, a roster and tests to hold back do not apply", o.Edition)
	}
	if c.Module == "" {
		c.Module = "labs"
	}
	if len(c.Parts) == 0 {
		c.Parts = parts
	}
	if o.HoldBack != nil {
		c.HoldBack = o.HoldBack.String()
	}
	secret := make([]byte, 16)
	rand.Read(secret)
	c.Secret = hex.EncodeToString(secret)
	return c, c.validate()
}

// hasHandout reports whether this package makes the handout. Students of other editions
// begin with the course's own tree.
func (c *config) hasHandout() bool {
	return c.Edition == "" || c.Edition == grade.Editions()[0]
}

// validate names the first wrong value and its limit.
func (c *config) validate() error {
	if !modulePath.MatchString(c.Module) || len(c.Module) > maxName {
		return bad("%.120q is not the path of a module", c.Module)
	}
	if c.Module == module {
		return bad("the module of a handout cannot be %s, because its packages differ", module)
	}
	if strings.ContainsAny(c.Class, "\r\n") || len(c.Class) > maxName {
		return bad("the name of the class is more than one line, or more than %d bytes", maxName)
	}
	parts, err := grade.PartsOf(c.Edition)
	if err != nil {
		return err
	}
	for _, p := range c.Parts {
		if !slices.Contains(parts, p) {
			return bad("there is no part %q; the parts are %s", p, strings.Join(parts, ", "))
		}
	}
	if len(c.Students) > maxStudents {
		return bad("%d students; the limit is %d", len(c.Students), maxStudents)
	}
	for i, s := range c.Students {
		if !studentName.MatchString(s) || len(s) > maxName {
			return bad("%.120q is not the id of a student: letters, digits and . _ @ + -, at most %d bytes", s, maxName)
		}
		if slices.Contains(c.Students[:i], s) {
			return bad("student %s occurs twice", s)
		}
	}
	if c.Secret == "" {
		return bad("%s has no secret", configName)
	}
	return nil
}

// Init makes a course in a directory, which must be empty or missing.
func Init(dir string, opt Options) error {
	c, err := opt.config()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	switch {
	case err == nil && len(entries) > 0:
		return bad("%s is not empty", dir)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return bad("%w", err)
	}
	handout := make(map[string][]byte)
	if c.hasHandout() {
		if handout, err = c.files(""); err != nil {
			return err
		}
	}
	instructor, err := c.instructor()
	if err != nil {
		return err
	}
	for name, data := range handout {
		if err := write(filepath.Join(dir, "handout", filepath.FromSlash(name)), data); err != nil {
			return err
		}
	}
	for name, data := range instructor {
		if err := write(filepath.Join(dir, filepath.FromSlash(name)), data); err != nil {
			return err
		}
	}
	return errors.Join(c.handouts(dir, c.Students), c.save(dir))
}

// Add makes handouts for further students of the course in dir. A student of the class
// gets the same handout again.
func Add(dir string, students []string) error {
	c, err := load(dir)
	if err != nil {
		return err
	}
	if !c.hasHandout() {
		return bad("the handout of edition %s is the course's own", c.Edition)
	}
	for _, s := range students {
		if !slices.Contains(c.Students, s) {
			c.Students = append(c.Students, s)
		}
	}
	if err := c.validate(); err != nil {
		return err
	}
	return errors.Join(c.handouts(dir, students), c.save(dir))
}

// handouts writes an archive for each of the students.
func (c *config) handouts(dir string, students []string) error {
	for _, s := range students {
		files, err := c.files(s)
		if err != nil {
			return err
		}
		data, err := zipped(files, "handout/")
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, "students", s+".zip"), data); err != nil {
			return err
		}
	}
	return nil
}

func (c *config) save(dir string) error {
	data, err := yaml.Marshal(c)
	if err != nil {
		return err
	}
	head := "# What raftlab course made. Keep the secret from students: it decides the marks of\n# each student's handout.\n"
	return writePrivate(filepath.Join(dir, filepath.FromSlash(configName)), append([]byte(head), data...))
}

// load reads the course in dir.
func load(dir string) (*config, error) {
	name := filepath.Join(dir, filepath.FromSlash(configName))
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, bad("%s holds no course: %w", dir, err)
	}
	var c config
	if err := yaml.Unmarshal(data, &c); err != nil {
		return nil, bad("%s: %w", name, err)
	}
	if c.HoldBack != "" {
		if c.hold, err = regexp.Compile(c.HoldBack); err != nil {
			return nil, bad("%s: hold_back: %w", name, err)
		}
	}
	if err := c.validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &c, nil
}

// ReadRoster reads the ids of students: the first field of each line, which ends at a
// comma, a semicolon or a tab. Blank lines, lines that begin with # and a heading do not
// count.
func ReadRoster(name string) ([]string, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, bad("%w", err)
	}
	var students []string
	for line := range strings.Lines(string(data)) {
		id := strings.Trim(strings.TrimSpace(strings.FieldsFunc(line+",", func(r rune) bool { return strings.ContainsRune(",;\t", r) })[0]), `"`)
		heading := len(students) == 0 && slices.Contains(headings, strings.ToLower(id))
		if id != "" && !heading && !strings.HasPrefix(id, "#") {
			students = append(students, id)
		}
	}
	if len(students) == 0 {
		return nil, bad("%s names no student", name)
	}
	return students, nil
}

// headings are names of a roster's first column.
var headings = []string{"id", "student", "sid", "login", "name", "email", "user", "username"}

func write(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if executable(name) {
		mode = 0o755
	}
	return os.WriteFile(name, data, mode)
}

func writePrivate(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, data, 0o600)
}

// executable reports whether a file of a course is a program.
func executable(name string) bool {
	base := filepath.Base(name)
	return base == "run_autograder" || base == "raftlab" || strings.HasSuffix(base, ".sh")
}
