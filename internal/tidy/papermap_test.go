package tidy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every name in code type in docs/paper-map.md is declared in the core, the
// runtime or rsm, so that the map does not lead astray.
func TestPaperMapNamesWhatExists(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "paper-map.md"))
	require.NoError(t, err)
	var code strings.Builder
	for _, dir := range []string{"raft/core", "raft/node", "rsm"} {
		files, _ := filepath.Glob(filepath.Join("..", "..", dir, "*.go"))
		for _, file := range files {
			src, err := os.ReadFile(file)
			require.NoError(t, err)
			code.Write(src)
		}
	}
	checked := 0
	for _, row := range strings.Split(string(page), "\n") {
		if !strings.HasPrefix(row, "|") {
			continue
		}
		cells := strings.Split(row, "|")
		for _, m := range regexp.MustCompile("`([A-Za-z]+)`").FindAllStringSubmatch(cells[len(cells)-2], -1) {
			name := m[1]
			if name == "rsm" {
				continue
			}
			checked++
			declared := regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type )` + name + `\b`)
			if !declared.MatchString(code.String()) {
				t.Errorf("docs/paper-map.md names %s, which is not declared", name)
			}
		}
	}
	if checked < 30 {
		t.Errorf("only %d names found in docs/paper-map.md; is its table still one?", checked)
	}
}
