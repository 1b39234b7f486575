// The kernel of the test bench: prints the text behind it and the device tree that
// it was given, on the serial port of QEMU's machine "virt", and turns the machine off.
// kernel.bin is its code: llvm-mc -arch=aarch64 -filetype=obj kernel.s -o kernel.o &&
// llvm-objcopy -O binary -j .text kernel.o kernel.bin
// Image header
  b start
  .inst 0
  .quad 0x0        // text_offset
  .quad 0x10000    // image_size
  .quad 0xa        // flags: LE, 4K pages, anywhere
  .quad 0
  .quad 0
  .quad 0
  .ascii "ARM\x64"
  .inst 0
start:
  mov x19, x0
  movz x20, #0x0900, lsl #16   // PL011
  adr x1, text
  bl puts
  // the device tree, as hexadecimal digits
  adr x1, begin
  bl puts
  ldr w21, [x19, #4]
  rev w21, w21
  mov x22, #0
1: ldrb w23, [x19, x22]
  lsr w1, w23, #4
  bl nibble
  and w1, w23, #15
  bl nibble
  add x22, x22, #1
  cmp x22, x21
  b.lo 1b
  adr x1, end
  bl puts
  // PSCI SYSTEM_OFF by hvc
  movz w0, #0x8400, lsl #16
  movk w0, #0x0008
  hvc #0
2: wfi
  b 2b
nibble:
  add w1, w1, #'0'
  cmp w1, #'9'
  b.ls put
  add w1, w1, #('a' - '9' - 1)
put:
  ldr w2, [x20, #0x18]   // flags: wait while the FIFO is full
  tbnz w2, #5, put
  str w1, [x20]
  ret
puts:
  mov x3, x30
4: mov x4, x1
  ldrb w1, [x4]
  cbz w1, 3f
  bl put
  add x1, x4, #1
  b 4b
3: mov x30, x3
  ret
begin: .asciz "\nDTB "
end: .asciz "\nEND\n"
text:
