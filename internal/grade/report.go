package grade

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// gradesName is the file with the whole report.
const gradesName = "grades.json"

// maxOutputFile bounds the file with the output of a failure, in bytes.
const maxOutputFile = 256 << 10

// write keeps the output of a failed run, the begin and the end of a long one, and the
// picture. The files of an earlier run of the test go.
func (e evidence) write(dir, name, test string, failed bool) error {
	files := []string{filepath.Join(dir, name, picturePath(test)), filepath.Join(dir, name, "output", test+".txt")}
	for _, file := range files {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !failed {
		return nil
	}
	if len(e.picture) > 0 {
		if err := writeFile(files[0], e.picture); err != nil {
			return err
		}
	}
	output := []byte(printable(string(e.output)))
	if over := len(output) - maxOutputFile; over > 0 {
		head, tail := output[:maxOutputFile/2], output[len(output)-maxOutputFile/2:]
		output = bytes.Join([][]byte{head, fmt.Appendf(nil, "\n... %d bytes ...\n", over), tail}, nil)
	}
	return writeFile(files[1], output)
}

// picturePath is the path of a test's picture in the directory of a submission.
func picturePath(test string) string { return filepath.Join("output", test+".html") }

// writeFile replaces a file as a whole.
func writeFile(name string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".tmp", data, 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// Write writes the report into a directory. The files of the class are grades.json,
// grades.csv and junit.xml. A submission has a directory with feedback.txt and
// results.json, in the format of Gradescope.
func (r *Report) Write(dir string) error {
	for name, encode := range map[string]func(io.Writer) error{gradesName: r.JSON, "grades.csv": r.CSV, "junit.xml": r.JUnit} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, name), b.Bytes()); err != nil {
			return err
		}
	}
	for _, one := range r.Submissions {
		var text, scope bytes.Buffer
		one.Feedback(&text)
		if err := one.Gradescope(&scope); err != nil {
			return err
		}
		for name, data := range map[string][]byte{"feedback.txt": text.Bytes(), "results.json": scope.Bytes()} {
			if err := writeFile(filepath.Join(dir, one.Name, name), data); err != nil {
				return err
			}
		}
	}
	return nil
}

// JSON writes the whole report.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// CSV writes a line for each submission, with the points of each part.
func (r *Report) CSV(w io.Writer) error {
	c := csv.NewWriter(w)
	header := []string{"name", "points", "max"}
	graded := make(map[string]bool)
	for _, one := range r.Submissions {
		for _, p := range one.Parts {
			graded[p.Part] = true
		}
	}
	parts := slices.Sorted(maps.Keys(graded))
	c.Write(append(append(header, parts...), "problem", "findings"))
	for _, one := range r.Submissions {
		line := []string{cell(one.Name), number(one.Points), number(one.Max)}
		for _, part := range parts {
			points := ""
			for _, p := range one.Parts {
				if p.Part == part {
					points = number(p.Points)
				}
			}
			line = append(line, points)
		}
		c.Write(append(line, cell(one.problem()), strconv.Itoa(len(one.Findings))))
	}
	c.Flush()
	return c.Error()
}

func number(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure,omitempty"`
	Error   *junitMessage `xml:"error,omitempty"` // the test was not run
	Skipped *junitMessage `xml:"skipped,omitempty"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// JUnit writes a suite for each submission.
func (r *Report) JUnit(w io.Writer) error {
	var all junitSuites
	for _, one := range r.Submissions {
		suite := junitSuite{Name: oneLine(one.Name), Tests: len(one.Tests)}
		for _, t := range one.Tests {
			c := junitCase{Name: t.Test, Class: oneLine(one.Name) + "." + t.Part, Time: strconv.FormatFloat(t.CPU, 'f', 3, 64)}
			switch t.State {
			case Passed:
			case Skipped:
				suite.Skipped++
				c.Skipped = &junitMessage{Message: printable(t.Detail)}
			case Broken, Missing, Refused, Endless:
				suite.Errors++
				c.Error = &junitMessage{Message: printable(t.Detail), Type: string(t.State)}
			default:
				suite.Failures++
				c.Failure = &junitMessage{Message: printable(t.Detail), Type: string(t.State), Text: printable(t.Repeat + "\n" + t.Excerpt)}
			}
			suite.Cases = append(suite.Cases, c)
		}
		all.Suites = append(all.Suites, suite)
	}
	io.WriteString(w, xml.Header)
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	return enc.Encode(all)
}

// printable replaces characters that command a terminal, change the direction of a text, or
// are invisible. XML does not allow most of them either.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) && r != '\n' && r != '\t' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// oneLine is printable for a text in a line of a report.
func oneLine(s string) string { return strings.ReplaceAll(printable(s), "\n", "?") }

// cell protects a spreadsheet from a text that is a formula.
func cell(s string) string {
	if s = printable(s); s != "" && strings.ContainsRune("=+-@\t", rune(s[0])) {
		return "'" + s
	}
	return s
}

type scopeResult struct {
	Score  float64     `json:"score"`
	Output string      `json:"output"`
	Format string      `json:"output_format"`
	Tests  []scopeTest `json:"tests"`
}

type scopeTest struct {
	Name       string  `json:"name"`
	Number     string  `json:"number"`
	Score      float64 `json:"score"`
	MaxScore   float64 `json:"max_score"`
	Status     string  `json:"status"`
	Output     string  `json:"output"`
	Visibility string  `json:"visibility"`
	Format     string  `json:"output_format"`
}

// Gradescope writes the grade as Gradescope's results.json.
func (one *Grade) Gradescope(w io.Writer) error {
	res := scopeResult{Score: one.Points, Format: "text", Tests: []scopeTest{}}
	var head strings.Builder
	one.head(&head)
	res.Output = head.String()
	for i, t := range one.Tests {
		var text strings.Builder
		t.describe(&text)
		status := "failed"
		if t.State == Passed || t.State == Skipped {
			status = "passed"
		}
		res.Tests = append(res.Tests, scopeTest{Name: t.Part + " " + t.Test, Number: strconv.Itoa(i + 1), Score: t.Points, MaxScore: t.Max,
			Status: status, Output: text.String(), Visibility: "visible", Format: "text"})
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(res)
}

// head writes what concerns the whole submission.
func (one *Grade) head(w io.Writer) {
	if one.Problem != "" {
		fmt.Fprintf(w, "Nothing was run: %s\n\n", one.Problem)
	}
	if len(one.Findings) > 0 {
		fmt.Fprintln(w, "Findings in the source:")
		for _, f := range one.Findings {
			how := "reported to the teacher"
			if f.Refused {
				how = "not permitted"
			}
			fmt.Fprintf(w, "  %s; %s\n", f, how)
		}
		fmt.Fprintln(w)
	}
	if len(one.Notes) > 0 {
		fmt.Fprintln(w, "How the submission was read:")
		for _, n := range one.Notes {
			fmt.Fprintf(w, "  %s\n", n)
		}
		fmt.Fprintln(w)
	}
}

// describe writes what a student needs to act on the result of a test.
func (t *TestResult) describe(w io.Writer) {
	fmt.Fprintf(w, "The test: %s\n", t.Checks)
	switch t.State {
	case Failed:
		fmt.Fprintf(w, "Failure (%s): %s\n", t.Kind, t.Detail)
	case Skipped:
		fmt.Fprintf(w, "Skipped: %s\n", t.Detail)
	case Passed:
	default:
		fmt.Fprintf(w, "Not run: %s\n", t.Detail)
	}
	for _, n := range t.Notes {
		fmt.Fprintf(w, "Note: %s\n", n)
	}
	if t.Seed != nil {
		fmt.Fprintf(w, "Seed: %d\nRepeat with: %s\n", *t.Seed, t.Repeat)
	}
	if t.Picture != "" {
		fmt.Fprintf(w, "Picture of the history: %s\n", t.Picture)
	}
	if t.Excerpt != "" {
		fmt.Fprintf(w, "From the output:\n%s\n", indent(t.Excerpt))
	}
}

func indent(s string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n    ")
}

// Feedback writes the grade for the student, failures first.
func (one *Grade) Feedback(w io.Writer) {
	fmt.Fprintf(w, "%s\n\n", one.summary())
	for _, p := range one.Parts {
		fmt.Fprintf(w, "%s: %v of %v points; %d passed, %d failed, %d skipped, %d not run\n", p.Part, p.Points, p.Max, p.Passed, p.Failed, p.Skipped, p.NotRun)
	}
	fmt.Fprintln(w)
	one.head(w)
	if one.Problem != "" {
		return
	}
	said := make(map[string]bool) // a build's errors once
	for _, t := range one.Tests {
		switch t.State {
		case Failed:
			fmt.Fprintf(w, "FAIL %s (%v points)\n", t.Test, t.Max)
			var b strings.Builder
			t.describe(&b)
			fmt.Fprintf(w, "%s\n\n", indent(b.String()))
		case Broken, Missing, Endless:
			if !said[t.Package] {
				fmt.Fprintf(w, "NOT RUN: the tests of package %s\n%s\n\n", t.Package, indent(t.Detail))
			}
			said[t.Package] = true
		}
	}
	for _, t := range one.Tests {
		if t.State == Skipped {
			fmt.Fprintf(w, "SKIP %s: %s\n", t.Test, t.Detail)
		}
		if t.State == Passed && len(t.Notes) > 0 {
			fmt.Fprintf(w, "NOTE %s: %s\n", t.Test, strings.Join(t.Notes, "; "))
		}
	}
}
