//go:build !wasip1

package member_test

import _ "raftlab/internal/testkit" // -seed is a flag of every test package
