// Package setup has a TestMain that talks, and a test that needs a flag.
package setup

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var size = flag.Int("size", 0, "what the test needs")

func TestMain(m *testing.M) {
	flag.Parse()
	fmt.Println("Testing takes place in", os.Getenv("PLACE"))
	fmt.Println("TestMain")
	os.Exit(m.Run())
}

func TestFlag(t *testing.T) {
	if *size != 7 || os.Getenv("PLACE") != "the dean's office" {
		t.Fatalf("-size is %d, not 7, or we are in %q", *size, os.Getenv("PLACE"))
	}
}

// TestStart fails with the hour at which its world began.
func TestStart(t *testing.T) { t.Fatal("it is", time.Now().UTC().Format("2006-01-02 15h")) }
