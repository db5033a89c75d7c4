package course

import (
	"cmp"
	"go/scanner"
	"go/token"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
)

// Fingerprints of sources, as in "Winnowing: Local Algorithms for Document Fingerprinting"
// (Schleimer, Wilkerson and Aiken, 2003). Names, literals and comments do not count, so
// renaming does not help a copier.
const (
	gramTokens   = 30 // of a compared piece
	gramWindow   = 12 // of which one piece is kept
	commonShare  = 4  // a piece in more than one submission in commonShare is common to all
	commonFewest = 4  // and in so many at least
	similarFrom  = 0.3
	fewestPieces = 30 // of a submission that is compared
)

// fingerprints returns the kept pieces of the Go files of a submission.
func fingerprints(sources map[string][]byte) map[uint64]bool {
	kept := make(map[uint64]bool)
	for _, name := range slices.Sorted(maps.Keys(sources)) {
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		hashes := grams(sources[name])
		for i := 0; i+gramWindow <= len(hashes); i++ {
			kept[slices.Min(hashes[i:i+gramWindow])] = true
		}
	}
	return kept
}

// grams returns a hash of each gramTokens successive tokens.
func grams(src []byte) []uint64 {
	var s scanner.Scanner
	s.Init(token.NewFileSet().AddFile("", -1, len(src)), src, func(token.Position, string) {}, 0)
	var kinds []byte
	for {
		_, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		if tok != token.SEMICOLON || text == ";" { // a line break is no token
			kinds = append(kinds, byte(tok))
		}
	}
	var hashes []uint64
	for i := 0; i+gramTokens <= len(kinds); i++ {
		h := fnv.New64a()
		h.Write(kinds[i : i+gramTokens])
		hashes = append(hashes, h.Sum64())
	}
	return hashes
}

// A Pair is two submissions with much in common.
type Pair struct {
	A      string  `json:"a"`
	B      string  `json:"b"`
	Share  float64 `json:"share"`  // of the smaller one's pieces that both have
	Pieces int     `json:"pieces"` // that both have
}

// similar compares submissions with each other. Pieces of the handout, and pieces that
// many submissions have, do not count.
func similar(names []string, prints []map[uint64]bool, handout map[uint64]bool) []Pair {
	count := make(map[uint64]int)
	for _, p := range prints {
		for h := range p {
			count[h]++
		}
	}
	common := max(commonFewest, len(names)/commonShare)
	own := make([]map[uint64]bool, len(prints))
	for i, p := range prints {
		own[i] = make(map[uint64]bool)
		for h := range p {
			if !handout[h] && count[h] <= common {
				own[i][h] = true
			}
		}
	}
	var pairs []Pair
	for i := range own {
		for j := range i {
			both := 0
			for h := range own[i] {
				if own[j][h] {
					both++
				}
			}
			if least := min(len(own[i]), len(own[j])); least >= fewestPieces && float64(both)/float64(least) >= similarFrom {
				pairs = append(pairs, Pair{names[j], names[i], float64(both) / float64(least), both})
			}
		}
	}
	slices.SortFunc(pairs, func(a, b Pair) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), strings.Compare(a.A, b.A), strings.Compare(a.B, b.B))
	})
	return pairs
}
