package course

import (
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"raftlab/internal/grade"
)

// copyBits is how much more the marks must say for another student than for the owner of
// a submission before the report names a copy. Chance alone reaches so much for one
// student in 2^copyBits.
const copyBits = 16

// A Finding is what the marks of one submission say.
type Finding struct {
	Name  string    `json:"name"`
	Known bool      `json:"known"` // a student of the class has this name
	Read  int       `json:"read"`  // marks that the submission still has
	Lost  int       `json:"lost"`  // marks that are gone or unclear
	Own   *Evidence `json:"own,omitempty"`
	Other *Evidence `json:"other,omitempty"` // the strongest of another student
	Copy  bool      `json:"copy"`
	Error string    `json:"error,omitempty"`
}

// A Comparison is the result for many submissions.
type Comparison struct {
	Findings []Finding `json:"findings"`
	Similar  []Pair    `json:"similar"`
}

// Check compares submissions with the handouts of all students of the course in dir, and
// with each other.
func Check(dir string, submissions []string) (*Comparison, error) {
	c, err := load(dir)
	if err != nil {
		return nil, err
	}
	var all Comparison
	var names []string
	var prints []map[uint64]bool
	for _, path := range submissions {
		name := grade.SubmissionName(path)
		sources, err := grade.Sources(path)
		if err != nil {
			all.Findings = append(all.Findings, Finding{Name: name, Error: err.Error()})
			continue
		}
		if c.hasHandout() {
			all.Findings = append(all.Findings, c.finding(name, sources))
		}
		names, prints = append(names, name), append(prints, fingerprints(sources))
	}
	handout := &builder{}
	if c.hasHandout() {
		if handout, err = c.skeletons(""); err != nil {
			return nil, err
		}
	}
	all.Similar = similar(names, prints, fingerprints(handout.files))
	return &all, nil
}

// finding reads the marks of one submission.
func (c *config) finding(name string, sources map[string][]byte) Finding {
	r := read(parsed(sources), sources)
	f := Finding{Name: name, Read: len(r.choices), Lost: r.lost, Known: slices.Contains(c.Students, name)}
	for _, student := range c.Students {
		e := r.evidence(mold{c.Secret, student})
		if student == name {
			f.Own = &e
		} else if f.Other == nil || weight(e) > weight(*f.Other) {
			f.Other = &e
		}
	}
	own := 0.0
	if f.Own != nil {
		own = f.Own.Bits
	}
	// Without own marks to compare with, some marks agree with some student by chance. Most
	// have to agree.
	fits := f.Other != nil && (f.Known || 2*f.Other.Agree > f.Read)
	f.Copy = f.Other != nil && (f.Other.Code || fits && f.Other.Bits-own >= copyBits)
	return f
}

// weight orders evidence. A code is worth more than all marks.
func weight(e Evidence) float64 {
	if e.Code {
		return e.Bits + 1000
	}
	return e.Bits
}

// Write writes a comparison for a teacher.
func (c *Comparison) Write(w io.Writer) {
	slices.SortStableFunc(c.Findings, func(a, b Finding) int {
		return cmp.Compare(fmt.Sprint(b.Copy), fmt.Sprint(a.Copy)) // true first
	})
	for _, f := range c.Findings {
		f.write(w)
	}
	if len(c.Similar) > 0 {
		fmt.Fprintf(w, "\nSubmissions with much in common that is not in the handout:\n")
	}
	for _, p := range c.Similar {
		fmt.Fprintf(w, "  %s and %s: %.0f %% of the smaller one (%d pieces)\n", p.A, p.B, 100*p.Share, p.Pieces)
	}
}

func (f Finding) write(w io.Writer) {
	if f.Error != "" {
		fmt.Fprintf(w, "%s: cannot be read: %s\n", f.Name, f.Error)
		return
	}
	head := "ok  "
	if f.Copy {
		head = "COPY"
	}
	fmt.Fprintf(w, "%s %s: ", head, f.Name)
	if f.Known {
		fmt.Fprintf(w, "%d of %d marks are the student's own", f.Own.Agree, f.Read)
	} else {
		fmt.Fprintf(w, "no student of this name; %d marks", f.Read)
	}
	if f.Lost > 0 {
		fmt.Fprintf(w, ", %d are gone", f.Lost)
	}
	if f.Copy {
		fmt.Fprintf(w, "; %d are of %s (1 in 2^%.0f by chance)", f.Other.Agree, f.Other.Student, f.Other.Bits)
		if f.Other.Code {
			fmt.Fprintf(w, ", and a comment has the code of %s's handout", f.Other.Student)
		}
	}
	fmt.Fprintln(w)
	if f.Copy {
		for _, m := range f.Other.Marks {
			fmt.Fprintf(w, "       %s\n", filepath.ToSlash(m))
		}
	}
}
