package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// glossaryCode is the last cell of a row of the glossary: a name, and the file that declares it.
var glossaryCode = regexp.MustCompile("\\| \\[`(\\w+)`\\]\\(\\.\\./([^)]+\\.go)\\) \\|$")

// Each word of the glossary leads to the file that declares the name beside the word.
func TestGlossaryLeadsToCode(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "glossary.md"))
	require.NoError(t, err)
	checked := 0
	for _, row := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| term |") && strings.HasSuffix(row, "| code |") {
			continue
		}
		checked++
		m := glossaryCode.FindStringSubmatch(row)
		if m == nil {
			t.Errorf("docs/glossary.md: no code at the end of %s", row)
			continue
		}
		src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(m[2])))
		if err != nil {
			t.Errorf("docs/glossary.md: %v", err)
			continue
		}
		declared := regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |const |var |\t)` + m[1] + `\b`)
		if !declared.Match(src) {
			t.Errorf("docs/glossary.md: %s does not declare %s", m[2], m[1])
		}
	}
	require.Greater(t, checked, 50, "words")
}
