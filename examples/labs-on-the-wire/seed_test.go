//go:build !wasip1

package main

import _ "raftlab/internal/testkit" // -seed is a flag of every test package
