//! program
#![no_std]
