package mini

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestCounter fails, and writes the count of its runs, which is in a file outside
// of the world.
func TestCounter(t *testing.T) {
	name := os.Getenv("COUNTER")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Skip("no counter: ", err)
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	if err := os.WriteFile(name, []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Fatalf("run %d fails as well", n)
}
