package testkit

import (
	"flag"
	"runtime"
	"strconv"
)

// AtOnce lets n parallel tests of a package run at once even on fewer processors, unless
// -parallel says otherwise. TestMain calls AtOnce where the tests mostly wait, for disks,
// elections and processes, and use little processor time.
func AtOnce(n int) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", strconv.Itoa(max(n, runtime.GOMAXPROCS(0)))); err != nil {
			panic(err)
		}
	}
}
